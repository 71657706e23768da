"""What a user types, and what is said to it. Each of the four files has the commands of a kind, and imports what is
heavy when one of them is called; `*answers.py` do their work. The app itself is ulmfit/cli.py.

    options     the options that commands share, with their help; configs makes a RunConfig of them
    train       quickstart, run, pretrain, finetune, classify
    model       evaluate, predict, doctor                           answers, doctor (machine, self_test)
    lm          perplexity, generate, import-fastai                 lm_answers
    rates       lr-find, plot schedule                              rate_answers
"""
