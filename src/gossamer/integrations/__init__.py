"""The Sparsifier in other people's training loops: one module a framework, each needs the extra of its name.

gossamer.integrations.huggingface    transformers.Trainer
gossamer.integrations.lightning      lightning.Trainer
gossamer.integrations.accelerate     accelerate.Accelerator
"""
