"""NextItNet: dilated causal convolutions over a path predict its next item."""

from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn import NextItem, NextItemConfig, Paths, SequenceEncoder
from kgrec.settings import settings


@settings
class NextItNetConfig(NextItemConfig):
    """Settings of NextItNet."""

    kernel: int = 3  #: steps that a convolution sees
    dilations: tuple[int, ...] = (1, 2)  #: of the residual blocks, each of two convolutions


class Convolutions(SequenceEncoder):
    """Residual blocks x + conv(relu(norm(conv(x)))); the second convolution's dilation is twice the first one's
    (Yuan et al. 2019, fig. 3)."""

    def __init__(self, dim: int, kernel: int, dilations: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.kernel, self.dilations = kernel, dilations
        self.first, self.second = (
            nn.ModuleList(nn.Conv1d(dim, dim, kernel, dilation=times * one) for one in dilations) for times in (1, 2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in dilations)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        x = paths.padded(self.dropout(steps))
        for first, second, norm in zip(self.first, self.second, self.norms):
            x = x + self.convolved(second, functional.relu(norm(self.convolved(first, x))))
        return self.dropout(paths.packed(x))

    def convolved(self, layer: nn.Module, rows: Tensor) -> Tensor:
        """Rows [B, L, D] through a convolution of each step and those before it."""
        past = (self.kernel - 1) * layer.dilation[0]
        return layer(functional.pad(rows.transpose(1, 2), (past, 0))).transpose(1, 2)


class NextItNet(NextItem):
    """A simple convolutional generative network for next item recommendation, over packed paths."""

    Config = NextItNetConfig
    paper = "Yuan et al. 2019, A simple convolutional generative network for next item recommendation, WSDM"

    @classmethod
    def make_encoder(cls, config: NextItNetConfig) -> Convolutions:
        return Convolutions(config.dim, config.kernel, config.dilations, config.dropout)
