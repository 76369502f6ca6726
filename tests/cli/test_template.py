"""Go's templates, as far as docker's documents need them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimagic.cli.template import fill, fill_table
from ocimagic.errors import InvalidOption, NotBuiltYet, OcimagicError

DOCUMENT = {
    "State": {"Running": True, "Status": "running", "ExitCode": 0},
    "Config": {"Cmd": ["a", "b"], "Labels": {"x": "1", "y-z": "2"}, "Env": ["A=1", "B=2"]},
    "NetworkSettings": {"Networks": {"none": {"IP": "1.2"}, "host": {"IP": "3.4"}}, "Ports": {}},
    "Number": 5,
    "Nothing": None,
    "Half": 0.5,
}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("plain", "plain"),
        ("a\\tb\\n", "a\tb\n"),
        ('{{"a\\tb"}}', "a\tb"),
        ("{{.State.Status}}", "running"),
        ("{{ .State.Running }}", "true"),
        ("{{.Config.Cmd}}", "[a b]"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Nothing.Deeper}}", "<no value>"),
        ("{{.Half}}", "0.5"),
        ("{{.Config.Labels}}", "map[x:1 y-z:2]"),
        ("{{.Config.Labels.nope}}", "<no value>"),
        ('{{index .Config.Labels "y-z"}}', "2"),
        ('{{index .Config.Labels "nope"}}', ""),
        ("{{index .Config.Cmd 1}}", "b"),
        ('{{(index .NetworkSettings.Networks "host").IP}}', "3.4"),
        ("{{json .Config.Cmd}}", '["a","b"]'),
        ("{{.Config.Cmd | json}}", '["a","b"]'),
        ('{{join .Config.Cmd ", "}}', "a, b"),
        ('{{split "a:b" ":"}}', "[a b]"),
        ("{{len .Config.Env}}", "2"),
        ("{{upper .State.Status}} {{lower `AB`}} {{title `one two`}}", "RUNNING ab One Two"),
        ("{{truncate .State.Status 3}}", "run"),
        ("{{pad .State.Status 1 2}}|", " running  |"),
        ('{{printf "%s-%05d-%q-%v" .State.Status .Number "x" .Config.Cmd}}',
         'running-00005-"x"-[a b]'),
        ('{{printf "%d"}}', "%!d(MISSING)"),
        ("{{println 1 2}}", "1 2\n"),
        ("{{print 1 2 `a` 3}}", "1 2a3"),
        ("{{slice .State.Status 1 3}}", "un"),
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .Config.Cmd}}{{$i}}{{$e}} {{end}}", "0a 1b "),
        ("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IP}};{{end}}",
         "host=3.4;none=1.2;"),
        ("{{range .Config.Cmd}}{{$.Number}}{{end}}", "55"),
        ("{{range 2}}{{.}}{{end}}", "01"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.ExitCode}}bad{{else if .Nothing}}odd{{else}}good{{end}}", "good"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Nothing}}x{{end}}", "running"),
        ("{{if and .State.Running (eq .Number 5)}}yes{{end}}", "yes"),
        ("{{or .Nothing `other`}} {{not .State.Running}}", "other false"),
        ("{{eq .Number 4 5}} {{ne .Number 5}} {{lt 1 2}} {{ge 1 2}}", "true false true false"),
        ("{{$x := .Number}}{{$x = 6}}{{$x}}", "6"),
        ("a {{- /* said */ -}} b", "ab"),
        ("{{/* said */}}x", "x"),
        ("a  {{- .Number -}}  b", "a5b"),
        ('{{"}}"}}', "}}"),
        ("{{html `<a>`}}", "&lt;a&gt;"),
    ],
)  # fmt: skip
def test_filled(template, filled):
    assert fill(template, DOCUMENT) == filled


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{.Stat}}", "did you mean State?"),
        ("{{.Number.Deeper}}", "no object"),
        ("{{", "without }}"),
        ("{{.State", "without }}"),
        ("{{}}", "cannot be understood"),
        ("{{. .}}", "functions only"),
        ("{{5 | 6}}", "functions only"),
        ("{{end}}", "without a beginning"),
        ("{{range .Config.Cmd}}", "without {{end}}"),
        ("{{range .Number.X}}{{end}}", "no object"),
        ("{{range .State.Status}}{{end}}", "cannot range"),
        ("{{jsno .State}}", "did you mean json?"),
        ("{{index .Config.Cmd 2}}", "item 2 of 2"),
        ("{{index .Number 1}}", "cannot take an item"),
        ("{{lt .Number `a`}}", "compares"),
        ("{{len .Number}}", "length"),
        ("{{join .Number `,`}}", "no list"),
        ("{{eq}}", "does not take 0"),
        ("{{$nope}}", "no variable $nope"),
        ("{{.Label}}", "wants one argument"),
        ("{{" + "(" * 40 + ".X" + ")" * 40 + "}}", "cannot be understood"),
        ("{{if .Number}}" * 40 + "{{end}}" * 40, "too deeply"),
    ],
)
def test_refused(template, said):
    with pytest.raises(InvalidOption) as caught:
        fill(template, DOCUMENT, {"Label": lambda name: name})
    assert said in str(caught.value)


@pytest.mark.parametrize("word", ["define", "template", "block", "break"])
def test_what_go_has_and_we_have_not(word):
    with pytest.raises(NotBuiltYet, match=word):
        fill(f'{{{{{word} "x"}}}}', DOCUMENT)


def test_methods():
    assert fill('{{.Label "a"}}', {}, {"Label": lambda name: f"<{name}>"}) == "<a>"


def test_table_is_aligned_as_docker_aligns_it():
    rows = [({"ID": "0123456789ab", "Name": "web"}, {}), ({"ID": "1", "Name": "a long name"}, {})]
    heads = {"ID": "CONTAINER ID", "Name": "NAME"}
    assert fill_table("{{.ID}}\t{{.Name}}\t{{.ID}}", heads, rows).splitlines() == [
        "CONTAINER ID   NAME          CONTAINER ID",
        "0123456789ab   web           0123456789ab",
        "1              a long name   1",
    ]


PARTS = st.sampled_from(
    ["{{", "}}", ".", ".State", "range ", "if ", "end", "else", "$x", ":=", "|", "(", ")", '"a"',
     " ", "json ", "index ", "-", "/*", "*/", "text", "5", "`", "eq ", "with "]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=16).map("".join))
def test_nothing_but_our_errors_comes_out(template):
    try:
        fill(template, DOCUMENT)
    except OcimagicError as err:
        str(err)
