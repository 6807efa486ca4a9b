"""How far defects stand out of residuals, by closed forms."""

import torch

from benchmarks.arms.signal_to_noise import SignalToNoise, defects

SIDE = 64


def test_signal_to_noise_by_hand() -> None:
    """Residual 3 inside the defect and 1 elsewhere; images without a defect do not count."""
    truth = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    truth[0, :, :16, :16] = True
    residual = 1 + 2 * truth.float()
    snr = SignalToNoise(2)
    snr.update([residual[1:], residual[1:]], truth[1:])
    assert snr.compute().isnan().all()
    snr.update([residual, residual**2], truth)
    snr.update([100 * residual[1:], residual[1:]], truth[1:])
    torch.testing.assert_close(snr.compute(), torch.tensor([3.0, 9.0]))


def test_defects_are_brought_to_the_size_of_the_map() -> None:
    truth = torch.zeros(1, 32, 32, dtype=torch.bool)
    truth[:, :8, :16] = True
    found = defects(truth, (SIDE, SIDE))
    assert found.shape == (1, 1, SIDE, SIDE)
    assert found[0, 0, :16, :32].all()
    assert found.sum() == 16 * 32
    assert torch.equal(defects(truth[:, None], (SIDE, SIDE)), found)
