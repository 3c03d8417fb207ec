"""The Trainer in each of several processes that share a training."""

from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from frontier.run import sharding
from frontier.run.trainer import AnswerTrainer

# The files of a checkpoint that the first process writes.
_ADAPTER = "adapter.pt"
_OPTIMIZER = "optimizer.pt"
_SCHEDULER = "scheduler.pt"


class ShardedTrainer(AnswerTrainer):
    """The AnswerTrainer in each of several processes, which share the model and the examples of each step.

    Checkpoints hold whole tensors, which the first process writes: the Trainer's own would gather the base as well.
    """

    def __init__(self, *args, share: sharding.Share, **kwargs):
        super().__init__(*args, data_collator=partial(sharding.deal, share=share), **kwargs)
        self.share = share
        if share.index:
            # With one seed for all, every process would draw the same dropout for its own examples.
            torch.manual_seed(self.args.seed + share.index)

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        sharding.complete(self.accelerator, self.args.fsdp_plugin_args)
        self.is_fsdp_enabled = True

    def get_train_dataloader(self):
        """Return the batches that a single process would have: each process collates its own part of them."""
        loader = DataLoader(
            self.train_dataset,
            batch_size=self.args.per_device_train_batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=self.data_collator,
        )
        return prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            use_seedable_sampler=True,
            data_seed=self.args.data_seed,
        )

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this process's part of the loss times the processes' number: FSDP takes their gradients' mean."""
        self.clock.tokens += inputs.pop("dealt_tokens")
        loss = model(inputs).sum() / num_items_in_batch
        whole = loss.detach().clone()
        dist.all_reduce(whole)
        self.clock.losses.append(whole)
        return loss * self.share.processes

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        # Only the first process has a guard, which says when to save.
        should_save = torch.tensor(int(self.control.should_save), device=self.accelerator.device)
        dist.broadcast(should_save, 0)
        self.control.should_save = bool(should_save)
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        # The checkpoint may be sealed only when every process has written its random state.
        dist.barrier()

    def save_model(self, output_dir=None, _internal_call=False):
        self._write(sharding.gathered(self.model), output_dir, _ADAPTER)

    def _save_optimizer_and_scheduler(self, output_dir):
        self._write(sharding.whole_state(self.optimizer.optimizer), output_dir, _OPTIMIZER)
        self._write(self.lr_scheduler.state_dict(), output_dir, _SCHEDULER)

    def _write(self, state: dict, folder: str, name: str) -> None:
        if self.share.index == 0:
            Path(folder).mkdir(parents=True, exist_ok=True)
            torch.save(state, Path(folder) / name)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        weights = torch.load(Path(resume_from_checkpoint) / _ADAPTER, map_location="cpu")
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in weights:
                    parameter.copy_(sharding.part_of(weights[name], parameter))

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint:
            folder = Path(checkpoint)
            sharding.load_whole(self.optimizer.optimizer, torch.load(folder / _OPTIMIZER, map_location="cpu"))
            self.lr_scheduler.load_state_dict(torch.load(folder / _SCHEDULER))
