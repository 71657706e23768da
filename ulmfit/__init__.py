"""ULMFiT (Howard & Ruder 2018) in plain Python on top of minilstm.

Reading order
    text, vocab                                           a text to tokens, tokens to numbers
    files, tables, documents, downloads, splits, datasets from what lies on disk to train, validation and test
    corpus, batching                                      a large text as numbers; batches as a function of the step
    awd_lstm, language_model, classifier                  the models, each with its backward
    groups, schedules, recipes, train                     the paper's tricks as plain functions; the loop
    pipeline, experiment                                  the three stages, and a whole run
    config, run_dir, model_files, predictor, cli          what is left on disk, and how it is used
"""
