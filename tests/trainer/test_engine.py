"""What two ranks hold and compute under every ZeRO stage, against plain torch; and DeepSpeed's own block of a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.plan import state_bytes
from kernel.random import derive
from model import masked_lm
from model.cpu import prepare_process
from tests.trainer.engine_worker import CASES
from tests.trainer.runs import two_splits
from tests.trainer.synthetic import run_config
from tests.trainer.zygote import fork_ranks
from trainer.batches import load, share
from trainer.config import RunConfig, TrainingConfig
from trainer.data import micro_rows, open_data
from trainer.engine import check_block, check_precision
from trainer.errors import TrainerError

Gradients = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks leave of one step's gradients under every stage, in bfloat16."""
    folder = two_splits(tmp_path_factory.mktemp("engine"))
    body = run_config(folder, precision="bfloat16")
    (folder / "run.json").write_text(json.dumps(body))
    ranks = fork_ranks("tests.trainer.engine_worker", [str(folder / "run.json"), str(folder)], 2, folder)
    for rank, process in enumerate(ranks):
        assert process.wait() == 0, (folder / f"errors-{rank}.txt").read_text()
    return folder


@pytest.fixture(scope="module")
def autocast(left: Path) -> Gradients:
    """The same step's gradients by torch's autocast on one process, with one thread, as the ranks have: threads round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    prepare_process()
    config = RunConfig.model_validate_json((left / "run.json").read_text())
    data, phase = open_data(config).phases[0], config.phases[0]
    torch.manual_seed(derive(config.seed, "weights"))
    model = masked_lm(config.model).train()
    pieces = [piece for rank in range(2) for piece in share(0, phase.batch_size, rank, 2, micro_rows(config, phase))]
    batches = load(data, pieces, 0)
    predicted = sum(batch.predicted for batch in batches)
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions, batch.labels, batch.dropout_keys).loss
        (loss / predicted).backward()
    torch.set_num_threads(threads)
    return {name: parameter.grad.reshape(-1) for name, parameter in model.named_parameters() if parameter.grad is not None}


def of_ranks(left: Path, case: str, like: Gradients) -> Gradients:
    """The gradients of a case, put together from both ranks' parts."""
    found = {name: torch.full_like(value, float("nan")) for name, value in like.items()}
    for rank in range(2):
        for name, (start, part) in torch.load(left / f"{case}-{rank}.pt")["gradients"].items():
            found[name][start : start + len(part)] = part
    return found


@pytest.mark.parametrize("case", CASES)
def test_gradients_in_bfloat16_are_those_of_autocast_and_reduced_in_float32(left: Path, autocast: Gradients, case: str) -> None:
    """To 1e-6 of the norm of each parameter's gradient; a sum over ranks in bfloat16 would be off by 4e-3."""
    for name, gradient in of_ranks(left, case, autocast).items():
        assert float((gradient - autocast[name]).norm() / autocast[name].norm()) < 1e-6, name


@pytest.mark.parametrize("case", CASES)
def test_the_norm_that_the_trainer_takes_is_that_which_deepspeeds_step_would_take(left: Path, autocast: Gradients, case: str) -> None:
    """So its own need not be taken again. Both are sums of float32, within 1e-5 of a sum of float64."""
    exact = sum(float(gradient.double().square().sum()) for gradient in autocast.values()) ** 0.5
    for rank in range(2):
        told = json.loads((left / f"{case}-{rank}.json").read_text())
        assert told["ours"] == pytest.approx(exact, rel=1e-5)
        assert told["theirs"] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("case", [name for name, (_, offload) in CASES.items() if offload is None])
def test_a_rank_holds_the_bytes_that_the_plan_says(left: Path, case: str) -> None:
    """The most between two micro-batches or before the step, within 5 %."""
    for rank in range(2):
        told = json.loads((left / f"{case}-{rank}.json").read_text())
        config = RunConfig.model_validate_json((left / "run.json").read_text()).model
        expected = state_bytes(told["parameters"], CASES[case][0], 2, largest=config.vocab_size * config.hidden_size)
        assert max(told["bytes"]) == pytest.approx(expected, rel=0.05)


BLOCKS: dict[str, dict[str, Any]] = {
    "training.deepspeed.zero_optimization.overlap_com: is no key of DeepSpeed's; did you mean overlap_comm?": {
        "zero_optimization": {"overlap_com": True}
    },
    "training.deepspeed.zero_optimisation: is no key of DeepSpeed's; did you mean zero_optimization?": {"zero_optimisation": {}},
    "training.deepspeed.zero_optimization.offload_optimizer.devic: is no key of DeepSpeed's; did you mean device?": {
        "zero_optimization": {"offload_optimizer": {"devic": "cpu"}}
    },
    "training.deepspeed.comms_logger.verbos: is no key of DeepSpeed's; did you mean verbose?": {"comms_logger": {"verbos": True}},
    "training.deepspeed.aio.block_siz: is no key of DeepSpeed's; did you mean block_size?": {"aio": {"block_siz": 1}},
    "training.deepspeed.tensorboard.enabl: is no key of DeepSpeed's; did you mean enabled?": {"tensorboard": {"enabl": True}},
    "training.deepspeed.zero_optimization.reduce_bucket_size: Input should be greater than 0, not -1": {
        "zero_optimization": {"reduce_bucket_size": -1}
    },
    "training.deepspeed.zero_optimization: should be a section of keys, not 3": {"zero_optimization": 3},
    "training.deepspeed.communication_data_type: Invalid communication_data_type": {"communication_data_type": "bf61"},
    "training.deepspeed.zero_optimization.stage: is not for this block to set; set training.zero_stage": {
        "zero_optimization": {"stage": 2}
    },
    "training.deepspeed.bf16: is not for this block to set; set training.precision": {"bf16": {"enabled": True}},
    "training.deepspeed.train_batch_size: is not for this block to set; set `batch_size` of the phase": {"train_batch_size": 8},
    "training.deepspeed.zero_optimization.offload_param.device: nvme keeps": {"zero_optimization": {"offload_param": {"device": "nvme"}}},
}


@pytest.mark.parametrize("message", BLOCKS)
def test_what_deepspeed_does_not_take_is_one_line_with_the_recipes_key(message: str) -> None:
    with pytest.raises(TrainerError) as caught:
        check_block(TrainingConfig(deepspeed=BLOCKS[message]))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_keys_of_deepspeeds_are_taken() -> None:
    check_block(TrainingConfig(deepspeed={"zero_optimization": {"overlap_comm": False}, "communication_data_type": "fp32"}))


def test_a_block_for_zero_is_refused_under_stage_0() -> None:
    with pytest.raises(TrainerError, match="zero_stage 0 shards nothing"):
        check_block(TrainingConfig(zero_stage=0, deepspeed={"zero_optimization": {"overlap_comm": False}}))
    with pytest.raises(ValueError, match="offload: not with zero_stage 0"):
        TrainingConfig(zero_stage=0, offload="cpu")


def test_a_gpu_without_bfloat16_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(TrainerError, match="training.precision: Tesla V100 has no bfloat16; set float32"):
        check_precision(TrainingConfig(), torch.device("cuda", 0))
    check_precision(TrainingConfig(precision="float32"), torch.device("cuda", 0))
    check_precision(TrainingConfig(), torch.device("cpu"))
