"""Training and evaluation by an experiment.

task        what an experiment learns: its model, as training starts with it, and its loss
optimizer   schedules and updates, to the digit of the release
strategy    the devices
trainer     steps on all of them, checkpoints, carrying on
validation  accuracy and loss in between
loop        one run in its folder, from the first step or the last checkpoint to the end
"""
