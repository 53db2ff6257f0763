"""``evaluate``: encoders beside their floors, at relative scales, under a frozen contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ecotone.data.base import Dataset
from ecotone.encoders import Encoder, Readout
from ecotone.errors import InputError, RecipeError
from ecotone.evaluation.audits import after_test, before_test, check_audits
from ecotone.evaluation.cards import budgets
from ecotone.evaluation.contestants import load_entrants
from ecotone.evaluation.details import details
from ecotone.evaluation.features import Progress
from ecotone.evaluation.mistakes import worst
from ecotone.evaluation.protocols import protocol
from ecotone.evaluation.report import Report, build_report
from ecotone.evaluation.results import ResultFolder
from ecotone.evaluation.scoring import score, select
from ecotone.evaluation.setup import Setup, prepare
from ecotone.evaluation.splits import open_splits

SCALES = (1.0, 0.5, 0.25, 0.125)


def evaluate(
    models: Sequence[str | Path | Encoder],
    data: str | Path | Mapping[str, Dataset],
    *,
    protocols: Sequence[str] = ("knn", "linear"),
    scales: Sequence[float] = SCALES,
    gsds: Sequence[float] = (),
    scale_protocol: str = "test-resized",
    gsd_policy: str = "pitch",
    gsd: float | None = None,
    sensor: str | None = None,
    seeds: int = 1,
    floors: bool = True,
    readout: Readout | None = None,
    standardise: bool = True,
    batch_size: int = 64,
    cache: str | Path | None = None,
    audits: Sequence[str] = ("duplicates",),
    out: str | Path | None = None,
    compare: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Measure encoders on the test split; every choice is made on val before test is read.

    Args:
        models: Run or model folders, encoders, or ``python:package.module:function``, which is imported and
            called. Several are scored one by one and on average.
        data: A dataset folder with train, val and test, or the three datasets by these names.
        protocols: ``knn``, ``knn-grid``, ``linear``, ``retrieval``.
        scales: Relative scales in (0, 1].
        gsds: Metres per pixel instead of relative scales, for images of one known GSD.
        scale_protocol: ``native``, ``test-native`` or ``test-resized``.
        gsd_policy: The GSD that encoders are told: ``pitch`` (the truth), ``fixed`` or ``fixed:METRES``, ``shuffled``.
        gsd: Metres per pixel, where the data do not say.
        sensor: Sensor, where the data do not say.
        seeds: Seeds over which the random floors are averaged.
        floors: Score the floors as well. Leave it on: a score without floors says nothing about pretraining.
        readout: How features become one vector, instead of the models' own; choose it on val.
        standardise: Divide features by their spread over train; without it kNN is that of Scale-MAE's released code.
        batch_size: Images in a batch.
        cache: Folder in which features of a dataset folder are kept for the next time; None keeps none.
        audits: ``duplicates``, ``leakage``, ``normalisers``, ``heads``, ``labels``; none if empty.
        out: Folder of results: the contract is written there before any score, then every score at once. The same
            call goes on where an earlier one was stopped. None keeps no results.
        compare: The models are rivals: each is judged by itself and against every other, instead of on average.
        on_progress: Called with what is being read, images done and images in all.

    Returns:
        Scores, differences, verdicts and the contract, with ``save_json`` and ``save_html``.

    Raises:
        EcotoneError: An option, the data or a model cannot be used; no score is produced.
    """
    chosen = tuple(protocol(name) for name in dict.fromkeys(protocols))
    if not chosen or seeds < 1:
        raise RecipeError("an evaluation needs at least one protocol and one seed", found=f"{len(chosen)} and {seeds}")
    splits = open_splits(data, gsd=gsd, sensor=sensor)
    asked = check_audits(audits, splits)
    setup = prepare(
        splits,
        load_entrants(models, readout),
        chosen,
        scales=scales,
        gsds=gsds,
        scale_protocol=scale_protocol,
        gsd_policy=gsd_policy,
        seeds=seeds,
        floors=floors,
        standardise=standardise,
        batch_size=batch_size,
        on_progress=on_progress,
        cache=None if cache is None else Path(cache),
    )
    _check_some_scale(setup)
    if compare and len(setup.entrants) < 2:
        raise RecipeError("a comparison needs at least two models", found=len(setup.entrants))
    setup = replace(setup, compare=compare)
    if out is not None:
        results = ResultFolder(out, setup.contract)
        results.keep_data(setup.splits.info)
        setup = replace(setup, results=results)
    costs = budgets(setup)
    selection, made = select(setup)
    findings = before_test(asked, setup, made)
    outcomes, embeddings = score(setup, selection, made)
    findings += after_test(asked, setup, selection, made)
    test = setup.splits.test_for(selection)
    behind = details(outcomes, setup.task.name, setup.classes, test.keys(), worst(setup, outcomes, test))
    report = build_report(setup, outcomes, embeddings, made.warnings, costs, behind, findings)
    if setup.results is not None:
        for contestant, card in zip(setup.contestants, report.models, strict=False):  # the encoders come first
            setup.results.keep_card(contestant.model(0), card)
    return report


def _check_some_scale(setup: Setup) -> None:
    if not setup.scales():
        reasons = "; ".join(setup.refusal(s) or "" for s in setup.plan.scales)
        raise InputError(f"no scale can be fed to the encoder: {reasons}", mend="Ask for a larger scale.")
