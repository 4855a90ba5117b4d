"""Attention of each path apart is that of paths beside each other, with padding."""

import pytest
import torch

from kgrec.nn import self_attention
from kgrec.nn.ligr import LiGRBlock
from kgrec.nn.packed_paths import Paths
from kgrec.nn.self_attention import AttentionConfig, SelfAttention, SelfAttentionConfig, TransformerBlock


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block", [TransformerBlock, LiGRBlock])
def test_paths_apart_have_the_same_encodings_and_gradients(causal, block, monkeypatch):
    torch.manual_seed(0)
    settings = (SelfAttentionConfig if block is TransformerBlock else AttentionConfig)(blocks=2, heads=2)
    encoder = SelfAttention(settings, 16, 30, 0.0, 0.1, causal=causal, block=block)
    paths = Paths(torch.tensor([30, 1, 0, 17, 30]))
    steps, slope = torch.randn(78, 16, requires_grad=True), torch.randn(78, 16)
    counted, whole = [], self_attention._path_by_path
    monkeypatch.setattr(
        self_attention, "_path_by_path", lambda *given, **more: counted.append(1) or whole(*given, **more)
    )
    found = {}
    for long in (1, 31):
        monkeypatch.setattr(self_attention, "LONG", long)
        rows = encoder(steps, paths)
        found[long] = [rows, *torch.autograd.grad((rows * slope).sum(), [steps, *encoder.parameters()])]
    assert len(counted) == 2  # once in each block
    for one, other in zip(found[1], found[31], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        encoder(steps, paths)
    assert len(counted) == 2  # what serves is as it was


def test_weights_of_each_path_are_dropped_by_themselves(monkeypatch):
    monkeypatch.setattr(self_attention, "LONG", 1)
    torch.manual_seed(0)
    block = TransformerBlock(SelfAttentionConfig(attention_dropout=0.5), 8, 0.0).train()
    x, paths = torch.randn(1, 8).expand(40, 8).contiguous(), Paths(torch.tensor([20, 20]))
    found = block.attend(x, paths, None).view(2, 20, 8)
    assert not torch.allclose(found[0], found[1])
    torch.testing.assert_close(*block.eval().attend(x, paths, None).view(2, 20, 8))
