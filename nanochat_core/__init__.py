"""The training command that ships with pytest-autoresearch: a small GPT under a fixed budget, scored in bits per byte.

    python -m nanochat_core --profile cpu --seconds 30     # by hand
    python -m nanochat_core --spec FILE                    # by a harness, see docs/contract.md

`train.py` is the one file that candidates change. Everything else is fixed:

    __main__.py    the command line and the four phases        profiles.py   sizes: tiny, cpu, gpu, ...
    prepare.py     data set -> token streams on disk           corpora.py    where documents come from
    tokenizer.py   byte-pair encoding, token lengths           data.py       batches and validation windows
    run.py         the `run` that train(run) works with        attention.py  one causal, windowed attention
    evaluate.py    the score (numpy only)                      producer.py   the model's side of the score
"""
