"""Search algorithms that are asked for candidates and told events; they do no input or output.

algorithm          what all share: the interface, duplicates, limits, state
random_search      plain random
stratified_random  random, spread evenly over log cost: the baseline to beat
ageing_evolution   ageing evolution on frontier rank
nsga2              NSGA-II, a baseline
optuna_tpe         Optuna's TPE, a baseline
given              members named beforehand, to tabulate a space
catalogue          name -> class, imported when it is looked up
"""
