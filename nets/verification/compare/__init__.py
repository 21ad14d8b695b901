"""Compares the derivations of one Jacobian, entry by entry.

judgement.py      one point: its derivations against each other, the verdict, and which one is wrong; begin here
findings.py       what was found at a point: checks, doubts, and derivations that are missing
comparison.py     two derivations → a `Check`
derivation.py     a Jacobian with its tolerance; whether two agree, and which of several is the odd one out
by_difference.py  central differences as a derivation, measured again where they disagree with the one that is judged
zeros.py          gradients that are zero, everywhere or at this point alone
witnesses.py      forward mode and the complex step, which no training step runs
"""
