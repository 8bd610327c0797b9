"""Kinds of data sets, one file each: a struct that parses a recipe's [data] table and reads the annotation lists.

To add one: write its file, then import it and add it to `AnyDataset` here. All other code uses `Dataset` only.
"""

from __future__ import annotations

from typing import TypeAlias

from stpr.train.datasets.csv_list import CsvList
from stpr.train.datasets.folder import Folder
from stpr.train.datasets.hmdb51 import Hmdb51
from stpr.train.datasets.kinetics400 import Kinetics400
from stpr.train.datasets.motions import Motions
from stpr.train.datasets.ssv2 import Ssv2
from stpr.train.datasets.ucf101 import Ucf101
from stpr.train.datasets.vclimb import Vclimb

AnyDataset: TypeAlias = Motions | Folder | CsvList | Ucf101 | Hmdb51 | Ssv2 | Kinetics400 | Vclimb
