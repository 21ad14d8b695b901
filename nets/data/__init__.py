"""The data sets, as configs/data names them. Only those that need scikit-learn or torchvision load it, when called."""

from nets.data.batch import Batch as Batch
from nets.data.batch import DataSet as DataSet
from nets.data.images import fashion_mnist as fashion_mnist
from nets.data.images import mnist as mnist
from nets.data.sklearn_sets import diabetes as diabetes
from nets.data.sklearn_sets import digits as digits
from nets.data.synthetic import sine as sine
from nets.data.synthetic import teacher as teacher
from nets.data.tabular import table as table
