"""The one exception for input a user can mend."""


class InputError(ValueError):
    """Bad input: a config, a flag, a file, a video or a results folder.

    The message is one line and names the place, the value and the rule, as in
    ``search.yaml: budget.steps: -3 must be an integer of at least 1``.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, place: str, value: object, rule: str) -> None:
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"{place}: {shown} {rule}")
        self.place = place
        self.value = value
        self.rule = rule
