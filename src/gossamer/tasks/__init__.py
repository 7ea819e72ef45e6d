"""Tasks: a data set, its models, its loss and its metric, one file a task.

`store` fetches and keeps data sets (NumPy only), `images` gives batches as functions of seed, epoch and index, `task` says what
a task is, `catalog` lists the tasks, `models` holds the networks,
`weights` reads their weights from files.
"""
