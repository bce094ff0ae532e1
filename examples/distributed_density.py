"""The Hessian's density of a small transformer, with parameters, data and vectors shared out over ranks:

    torchrun --nproc-per-node 2 examples/distributed_density.py

Each rank keeps its part of the parameters (FSDP2) and of the sequences. The density is that of all of them; rank 0
draws it.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import fastlanczos as fl
import fastlanczos.torch as flt

dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)  # the same model, and the same data, on every rank
torch.set_num_threads(1)


class LanguageModel(nn.Module):
    """Two layers, 32 wide, over an alphabet of 50 letters."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(32, 50)

    def forward(self, letters):
        """Return the logits of each next letter, (sequences, letters of the alphabet, places)."""
        mask = nn.Transformer.generate_square_subsequent_mask(letters.shape[1])
        return self.last(self.layers(self.table(letters), mask=mask, is_causal=True)).transpose(1, 2)


model = LanguageModel()
for layer in model.layers.layers:
    fully_shard(layer)
fully_shard(model)
letters = torch.randint(50, (48, 17))
mine = letters[rank::ranks]
data = [(part[:, :-1], part[:, 1:]) for part in mine.split(8)]
H = flt.HessianOperator(model, nn.functional.cross_entropy, data)
density = fl.spectral_density(H, num_probes=2, num_steps=24, seed=0, progress=rank == 0)
print(f"rank {rank}: {H.local_dim} of {H.shape[0]} entries of each vector, {len(mine)} of {len(letters)} sequences")
if rank == 0:
    print(density)
    density.plot().figure.savefig("distributed_density.png")
dist.barrier()  # a rank that leaves while others draw would take the group's store along
dist.destroy_process_group()
