"""Files from strangers that would execute something, write elsewhere or fill the memory: the cases of malicious.py."""

from attack import LIMIT, MEGABYTES
from malicious import CASES, attack

from .promises import Number, none_of


def torture(folder, rng, size, tell) -> list[Number]:
    """All cases, or so many (`size`) in the short form -> what came of them"""
    attacked = []
    for n in sorted(rng.choice(len(CASES), min(size, len(CASES)), replace=False)):
        (own := folder / f"case-{n}").mkdir()
        attacked.append((CASES[n], outcome := attack(CASES[n], own)))
        for fault in outcome.faults:
            tell(f"{CASES[n].kind}, {CASES[n].name}: {fault}")
        if len(attacked) % 25 == 0:
            tell(f"{len(attacked)} files")
    outcomes = [outcome for _, outcome in attacked]
    executed, written = sum(bool(o.executed) for o in outcomes), sum(bool(o.written) for o in outcomes)
    other = sum(bool(o.faults) and not (o.executed or o.written) for o in outcomes)
    here, apart = (max((o.megabytes for case, o in attacked if case.apart == own), default=0) for own in (False, True))
    return [
        Number("malicious files", len(attacked), at_least=min(size, 40)),
        none_of("executions", executed),
        none_of("writes outside", written),
        Number("MB at most to read one", round(here), at_most=MEGABYTES),
        Number("MB at most of a whole process that reads one", round(apart), at_most=LIMIT // 2**20),
        none_of("with any other fault", other),
    ]
