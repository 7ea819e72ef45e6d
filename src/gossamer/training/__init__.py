"""Training: how zeros are found. The Sparsifier runs a method beside any loop; the rest are its parts."""

from gossamer.training.engine import Sparsifier
from gossamer.training.methods import MEST, METHODS, SET, GaP, Gradual, Method, OneShot, RigL, Static
from gossamer.training.protection import Protection
from gossamer.training.reports import EditRecord, FinalReport, LayerChange, LayerRow, Summary

__all__ = [
    "MEST",
    "METHODS",
    "SET",
    "EditRecord",
    "FinalReport",
    "GaP",
    "Gradual",
    "LayerChange",
    "LayerRow",
    "Method",
    "OneShot",
    "Protection",
    "RigL",
    "Sparsifier",
    "Static",
    "Summary",
]
