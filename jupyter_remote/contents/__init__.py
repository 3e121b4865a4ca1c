"""What objects hold, apart from which objects they are: compared, copied, put into others.

A cell's inputs are numbered on both sides (see :mod:`jupyter_remote.values`). What it changed in
place comes home as *the number of the object and a copy of what it holds now*, in which every
other numbered object is again a number. So the notebook's own objects stay what they are and where
they are, in tuples, sets, closures and behind slots as anywhere else, and what did not change does
not travel.

Objects that cannot take over what another one holds (parts written in C, types with a pickle
protocol of their own in place of a state) come home as new ones, and with them whatever holds them.

``parts`` says what an object refers to, ``watch`` what changed, ``update`` puts it into the old.
"""
