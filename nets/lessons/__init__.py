"""What the source documents teach: their functions, and five engines that differentiate each of them.

    compare(Polynomials(), [1, 2], v=[1, 10, 100])

computes y and Σ v ∂y/∂x by PyTorch, NumPy by hand, SymPy, TensorFlow and JAX, and shows the results side by side. Begin
there.

function, scalars, vectors: the functions. engines, comparison: vjp, jacobian and compare. entries: Jacobians of a
network. recording, detaching, tape: rules of PyTorch, of detached values and of TensorFlow's tape. mistakes: common
mistakes in training. source: the code of a function, for a notebook.
"""

from nets.lessons import detaching as detaching
from nets.lessons import recording as recording
from nets.lessons import tape as tape
from nets.lessons.comparison import Comparison as Comparison
from nets.lessons.comparison import compare as compare
from nets.lessons.engines import ENGINES as ENGINES
from nets.lessons.engines import Found as Found
from nets.lessons.engines import installed as installed
from nets.lessons.engines import jacobian as jacobian
from nets.lessons.engines import symbolic as symbolic
from nets.lessons.engines import vjp as vjp
from nets.lessons.entries import entries as entries
from nets.lessons.function import Composed as Composed
from nets.lessons.function import Function as Function
from nets.lessons.function import Stacked as Stacked
from nets.lessons.scalars import Cube as Cube
from nets.lessons.scalars import Double as Double
from nets.lessons.scalars import EightMinus as EightMinus
from nets.lessons.scalars import ElevenPlus as ElevenPlus
from nets.lessons.scalars import HyperbolicTangent as HyperbolicTangent
from nets.lessons.scalars import LogSquareSine as LogSquareSine
from nets.lessons.scalars import NineOver as NineOver
from nets.lessons.scalars import Sine as Sine
from nets.lessons.scalars import Square as Square
from nets.lessons.scalars import ThreeSquares as ThreeSquares
from nets.lessons.source import source as source
from nets.lessons.vectors import DetachedSquare as DetachedSquare
from nets.lessons.vectors import Doubling as Doubling
from nets.lessons.vectors import Line as Line
from nets.lessons.vectors import Polynomials as Polynomials
from nets.lessons.vectors import Quadratic as Quadratic
from nets.lessons.vectors import RowTimes as RowTimes
from nets.lessons.vectors import SquaredNorm as SquaredNorm
from nets.lessons.vectors import Sum as Sum
from nets.lessons.vectors import Times as Times
from nets.lessons.vectors import TwiceSquaredNorm as TwiceSquaredNorm
from nets.lessons.vectors import TwoUses as TwoUses
from nets.lessons.vectors import UsedTwice as UsedTwice
