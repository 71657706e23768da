"""ULMFiT (Howard & Ruder 2018) in plain Python on top of minilstm.

Reading order
    text, vocab, corpus, readers, datasets, batching      from files to numbers
    awd_lstm, language_model, classifier                  the models, each with its backward
    groups, schedules, recipes, train                     the paper's tricks as plain functions; the loop
    pipeline, experiment                                  the three stages, and a whole run
    model_files, run_dir, predictor, cli                  what is left on disk, and how it is used
"""
