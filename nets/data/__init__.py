"""Data sets: each function returns a `DataSet` of training and held-out samples. A file in configs/data names each of
them.

batch.py holds the records `Batch` and `DataSet`. synthetic.py, sklearn_sets.py, images.py, tabular.py and text.py make
data sets. csv_file.py, npz_file.py and idx.py read and check files for them; splitting.py holds out and standardises;
one_hot.py encodes classes; data_sets.py has the table of all data sets, and chosen.py makes the one that the settings
of a run name. scikit-learn and torchvision are imported when a function that needs them is called.

A new data set is one function in one file; `known_as` enters it in the table, and a file in configs/data makes it a
setting of a run.
"""

from nets.data.batch import Batch as Batch
from nets.data.batch import DataSet as DataSet
from nets.data.images import fashion_mnist as fashion_mnist
from nets.data.images import mnist as mnist
from nets.data.sklearn_sets import diabetes as diabetes
from nets.data.sklearn_sets import digits as digits
from nets.data.synthetic import sine as sine
from nets.data.synthetic import teacher as teacher
from nets.data.tabular import table as table
from nets.data.text import characters as characters
