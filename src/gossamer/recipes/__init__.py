"""Recipes: a YAML file that says everything about one training run, and the run itself.

`schema` holds the configuration objects, `document` reads YAML with line numbers, `validate` turns a document into objects,
`shipped` is the folder of the recipes that come with the package, `loop` trains, `checkpoint` and `run_folder` keep what must
survive an interruption.
"""
