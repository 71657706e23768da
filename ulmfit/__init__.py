"""ULMFiT (Howard & Ruder 2018) in plain Python on top of minilstm.

Reading order
    text, vocab                                           a text to tokens, tokens to numbers
    files, tables, documents, downloads, splits, datasets from what lies on disk to train, validation and test
    corpus, batching                                      a large text as numbers; batches as a function of the step
    awd_lstm, language_model, head, classifier            the models, each with its backward
    groups, schedules, recipes, optimizers, train         the paper's tricks as plain functions; the loop
    tasks, pipeline, pretrained, experiment, test_set     the three stages, where they start, and a whole run
    config, run_dir, model_files, predictor, cli          what is left on disk, and how it is used
    saving, checkpoints, locks, interrupts                nothing lost: whatever ends a run, and whenever
    perplexity, generate, lr_find                         what one wants of a language model
    fastai                                                fastai's models made ours
"""
