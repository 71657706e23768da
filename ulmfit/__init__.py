"""ULMFiT (Howard & Ruder 2018) in plain Python on top of minilstm.

Reading order
    text, vocab, files, tables, documents, downloads, datasets, corpus, batching      from files to numbers
    awd_lstm, language_model, classifier                  the models, each with its backward
    groups, schedules, recipes, train                     the paper's tricks as plain functions; the loop
    pipeline, experiment                                  the three stages, and a whole run
    config, run_dir, model_files, predictor, cli          what is left on disk, and how it is used
"""
