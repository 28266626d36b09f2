from qwen_lightning.tasks.checks.segmentation import outside_code, paragraphs, sentences, tokens


def test_sentences_are_whole_and_in_order():
    text = 'Mrs. Vale said: "Go!" (They went.) On Jan. 5 it snowed 1.5 m. 雪停了。我们走吧'
    expected = ['Mrs. Vale said: "Go!"', "(They went.)", "On Jan. 5 it snowed 1.5 m.", "雪停了。", "我们走吧"]
    assert sentences(text) == expected
    assert sentences(" \n") == []


def test_a_long_text_without_an_end_is_one_sentence():
    assert len(sentences("word " * 20000)) == 1
    assert len(sentences("Word. " * 20000)) == 20000


def test_tokens_are_words_and_unspaced_characters():
    assert tokens("Ｔｅａ time：喝茶，ok") == ["tea", "time", "喝", "茶", "ok"]


def test_paragraphs_and_prose():
    assert paragraphs("a\nb\n \n\n c\n") == ["a\nb", "c"]
    assert outside_code("see `x` and\n```py\nSELECT\n```\nhttps://a.example/b end").split() == ["see", "and", "end"]
