"""What a network is, what it costs, how it varies and how it scales. Pure Python and numpy.

command_line  options, help and exit codes, the same for every command
choices       one name out of several known ones, and which was meant
errors        one exception for everything a user can get wrong
rounding      make_divisible, the release's channel rounding
architecture  Architecture and its parts: the one language of the project; YAML and JSON
variant       how a network is carried out: base, or causal as a stream
published     A0-A5 and T0 as literals
operations    the operations of a network and their sizes
cost          exact multiply-adds, parameters, stream state and activation bytes
space         Choice, SearchSpace: an ordered list of choices and what is derived from it
movinet_space the MoViNet space, declared once; the same from a user's YAML
sampling      uniform, cost-capped and FLOPs-stratified draws
scaling       compound scaling of an architecture and of a space
expected_growth  coefficients under which a random member's expected cost doubles
network       one architecture or an ensemble with its cost and origin, as a file to take home
yaml_file     YAML as people write it, read as plain data
quiet_start   TensorFlow's import without its notices
foreign_files files and JSON that others may have made, read within bounds
"""
