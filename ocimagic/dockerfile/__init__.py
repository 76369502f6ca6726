"""The Dockerfile language, pure: text in, values out, nothing fetched and nothing run.

Read it in this order: `lex` (lines, heredocs) → `words` (quotes, variables) → `interpret`
(one line to one of `instructions`) → `parse` (stages) → `plan` (what the target needs) →
`scope` (variables from line to line).  Beside them: `lint`, `ignore` and `match`.
"""
