"""One image line by line."""

from dataclasses import replace

from every_kind import account, one_image
from samples import NOW, layer

from ocimagic.render.display import as_html, as_text
from ocimagic.render.image_lines import files_words, lines_table
from ocimagic.render.layer_wall import build_wall


def test_files_in_words():
    assert files_words(account(())) == "no files"
    assert files_words(account(("a", "a/b", "a/c", "d"))) == "4 added: /a/b, /a/c, /d"
    many = account(tuple("abcde"), changed=("x",), deleted=("y", "y/z"))
    assert files_words(many) == "5 added: /a, /b, /c, …; 1 changed: /x; 2 deleted: /y/z"


def test_each_line_has_its_layer_or_none():
    rows = lines_table(one_image()).rows
    assert [(row[0], row[2]) for row in rows] == [("1", "A"), ("2", ""), ("3", "B"), ("4", "C")]
    assert rows[3][4] == "no files"


def test_equal_layers_have_one_letter_as_in_the_tree():
    report = one_image()
    (name, layers), empty = report.images[0], layer("empty", 0, "RUN true")
    same = replace(report, images=((name, (layers[0], empty, empty)),))
    assert [row[2] for row in lines_table(same).rows] == ["A", "", "B", "B"]
    assert [brick.letter for brick in build_wall(same).bricks()] == ["A", "B", "B"]


def test_text_and_html_say_it():
    report = one_image()
    assert "1 changed: /etc/passwd; 1 deleted: /bin/sh" in as_text(report, NOW)
    drawn = as_html(report, NOW)
    assert "ENV A=1: no layer" in drawn
    assert "D /bin/sh" in drawn
    assert "4 lines in the Dockerfile&#x27;s order made 3 layers" in drawn
