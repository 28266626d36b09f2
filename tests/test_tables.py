from qwen_lightning.tables import render_table


def test_columns_stand_under_each_other_wide_characters_too():
    table = render_table(["task", "n"], [["水の流れ", "7"], ["sql", "1200"]])
    assert table.splitlines() == ["task         n", "--------  ----", "水の流れ     7", "sql       1200"]
    assert render_table(["a", "b"], [["x", "yy"]], left=2).splitlines()[0] == "a  b"
