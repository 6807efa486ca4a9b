"""Parts are found where there are some; a user's network is loaded, checked, frozen and passed through."""

from math import nan
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.models.stcm.semantic import PartSegmentation, UserSegmentation

PATH = f"{__name__}.Segmentation"


class Segmentation(nn.Module):
    """Classes by a convolution, with dropout and batch statistics that training mode would show."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Conv2d(3, classes, 3, padding=1), nn.BatchNorm2d(classes), nn.Dropout(0.5))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image).softmax(1)


class Misshapen(nn.Module):
    """Output of another size or rank."""

    def __init__(self, stride: int = 1, flat: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.flat = flat

    def forward(self, image: Tensor) -> Tensor:
        small = F.avg_pool2d(image, self.stride)
        return small.amax(1) if self.flat else small


def export(network: nn.Module, path: Path, example: tuple[int, ...] = (2, 3, 64, 80), dynamic: bool = True) -> str:
    shapes = ({0: torch.export.Dim("b"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")},) if dynamic else None
    torch.export.save(torch.export.export(network.eval(), (torch.rand(example),), dynamic_shapes=shapes), path)
    return str(path)


def images(*shape: int) -> Tensor:
    return torch.rand(shape or (3, 3, 96, 64), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return export(Segmentation(), tmp_path_factory.mktemp("program") / "segmentation.pt2")


class TestParts:
    """k-means of features (B, 4, 2, 3) that point along one of three axes."""

    @pytest.fixture
    def parts(self) -> PartSegmentation:
        result = PartSegmentation(feature_channels=4, parts=3, temperature=20.0)
        result.centres.copy_(torch.eye(4)[:3])
        return result

    def test_probability_is_the_softmax_of_the_cosine(self, parts: PartSegmentation) -> None:
        features = torch.tensor([3.0, 4.0, 0.0, 0.0])[None, :, None, None].expand(1, 4, 2, 3)
        expected = (20 * torch.tensor([0.6, 0.8, 0.0])).softmax(0)
        got = parts(torch.zeros(1, 3, 16, 24), features)
        assert got.shape == (1, 3, 2, 3)
        torch.testing.assert_close(got[0, :, 1, 2], expected)

    def test_fit_finds_directions(self, parts: PartSegmentation) -> None:
        generator = torch.Generator().manual_seed(0)
        axes = torch.eye(4)[torch.randint(3, (500,), generator=generator)]
        parts.fit((axes + 0.02 * torch.randn(500, 4, generator=generator)) * 10, seed=0)
        torch.testing.assert_close(parts.centres.norm(dim=1), torch.ones(3))
        nearest = (parts.centres @ torch.eye(4)).amax(1)
        assert nearest.min() > 0.7

    def test_gradient_reaches_the_features(self, parts: PartSegmentation) -> None:
        features = torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        parts(torch.zeros(2, 3, 16, 24), features)[:, 0].sum().backward()
        assert features.grad.abs().sum() > 0

    def test_unfitted_parts_are_equally_likely(self) -> None:
        got = PartSegmentation(4, 5, 20.0)(torch.zeros(1, 3, 8, 8), torch.rand(1, 4, 1, 1))
        torch.testing.assert_close(got, torch.full_like(got, 0.2))

    def test_centres_travel_with_the_state_and_nothing_is_learned(self, parts: PartSegmentation) -> None:
        fresh = PartSegmentation(4, 3, 20.0)
        fresh.load_state_dict(parts.state_dict())
        assert torch.equal(fresh.centres, parts.centres)
        assert list(parts.parameters()) == []

    def test_missing_features_are_one_sentence(self, parts: PartSegmentation) -> None:
        with pytest.raises(ValueError, match=r"^PartSegmentation got no features: pass the texture features .*\.$"):
            parts(torch.zeros(1, 3, 8, 8), None)

    @pytest.mark.parametrize("arguments", [{"parts": 0}, {"parts": 1.5}, {"temperature": 0.0}, {"temperature": nan}])
    def test_a_wrong_argument_is_one_sentence(self, arguments: dict) -> None:
        with pytest.raises(
            ValueError, match=r"^(Parts|Temperature of parts) came as .*, expected a (whole|finite) number"
        ):
            PartSegmentation(**{"feature_channels": 4, "parts": 3, **arguments})

    def test_fewer_points_than_parts_are_repeated(self, parts: PartSegmentation) -> None:
        points = torch.rand(2, 4)
        parts.fit(points, seed=0)
        nearest = parts.centres @ F.normalize(points, dim=1).T
        torch.testing.assert_close(nearest.amax(1), torch.ones(3))


@pytest.mark.parametrize("kind", ["program", "class"])
class TestUser:
    @pytest.fixture
    def extractor(self, kind: str, program: str) -> UserSegmentation:
        return UserSegmentation(program if kind == "program" else PATH)

    def test_it_gives_the_networks_own_output(self, extractor: UserSegmentation) -> None:
        assert (extractor.channels, extractor.stride) == (3, 1)
        for shape in ((1, 3, 64, 64), (3, 3, 96, 64)):
            torch.testing.assert_close(extractor(images(*shape)), Segmentation().eval()(images(*shape)))

    def test_it_stays_in_evaluation(self, extractor: UserSegmentation) -> None:
        before = {name: value.clone() for name, value in extractor.state_dict().items()}
        whole = nn.Sequential(extractor).train()
        assert whole.training
        assert not extractor.training
        assert torch.equal(whole[0](images()), extractor(images()))
        assert all(torch.equal(value, before[name]) for name, value in extractor.state_dict().items())
        whole.eval()

    def test_gradient_reaches_the_image_and_no_weight(self, extractor: UserSegmentation) -> None:
        image = images().requires_grad_()
        extractor(image)[:, 0].sum().backward()
        assert image.grad.abs().sum() > 0
        assert not any(weight.requires_grad for weight in extractor.parameters())

    def test_a_checkpoint_brings_its_weights(self, extractor: UserSegmentation, kind: str, tmp_path: Path) -> None:
        another = Segmentation(seed=1)
        other = UserSegmentation(
            export(another, tmp_path / "other.pt2") if kind == "program" else PATH,
            {} if kind == "program" else {"seed": 1},
        )
        assert not torch.allclose(other(images()), extractor(images()))
        torch.save(extractor.state_dict(), tmp_path / "state.pt")
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert torch.equal(other(images()), extractor(images()))


def test_a_program_is_built_from_its_bytes_where_the_file_is_gone(tmp_path: Path) -> None:
    first = UserSegmentation(export(Segmentation(), tmp_path / "gone.pt2"))
    (tmp_path / "gone.pt2").unlink()
    torch.save(first.portable(), tmp_path / "arguments.pt")
    kept = torch.load(tmp_path / "arguments.pt", weights_only=True)
    assert kept["semantic"].dtype == torch.uint8
    again = UserSegmentation(kept["semantic"])
    assert torch.equal(again(images()), first(images()))
    assert torch.equal(again.portable()["semantic"], kept["semantic"])
    assert not any("program" in name for name in first.state_dict())


def test_a_class_needs_its_package_and_brings_nothing() -> None:
    assert UserSegmentation(PATH).portable() == {}


def test_arguments_for_a_program_are_one_sentence(program: str) -> None:
    with pytest.raises(
        ValueError, match=r"^Arguments came as \{'classes': 3\}, expected none where a program is given"
    ):
        UserSegmentation(program, {"classes": 3})


def test_arguments_go_to_the_class() -> None:
    extractor = UserSegmentation(PATH, {"classes": 5, "seed": 3})
    assert extractor.channels == 5
    torch.testing.assert_close(extractor(images()), Segmentation(5, 3).eval()(images()))


@pytest.mark.parametrize(
    ("source", "arguments", "cause"),
    [
        ("/no/such/file.pt2", {}, "No such file"),
        ("notapath", {}, "not enough values"),
        ("no_such_package.Network", {}, "No module named"),
        ("torch.nn.NoSuchClass", {}, "has no attribute 'NoSuchClass'"),
        (PATH, {"colour": "red"}, "unexpected keyword argument 'colour'"),
        ("pathlib.PurePath", {}, "has no attribute 'eval'"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(source: str, arguments: dict[str, str], cause: str) -> None:
    message = rf"^Semantic structure '{source}' cannot be loaded \(.*{cause}.*\): give 'parts', 'none', .*\.$"
    with pytest.raises(ValueError, match=message):
        UserSegmentation(source, arguments)


def test_a_broken_program_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.pt2"
    for content in (b"no program", b""):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"^Semantic structure '.*broken\.pt2' cannot be loaded \(.*\): give .*\.$"
        ):
            UserSegmentation(str(path))
    with pytest.raises(
        ValueError, match=r"^Semantic structure 'a program of 3 bytes' cannot be loaded \(.*\): give .*\.$"
    ):
        UserSegmentation(torch.zeros(3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("arguments", "shape"), [({"stride": 2}, r"\(2, 3, 32, 48\)"), ({"flat": True}, r"\(2, 64, 96\)")]
)
def test_a_wrong_shape_is_one_sentence(arguments: dict[str, object], shape: str) -> None:
    wanted = r"expected images \(2, 3, 64, 96\) in \[0, 1\] to give probabilities \(2, C, 64, 96\)"
    with pytest.raises(ValueError, match=rf"^Segmentation '.*' gave {shape}; {wanted}: resize and squash .*\.$"):
        UserSegmentation(f"{__name__}.Misshapen", arguments)


class Logits(nn.Module):
    """Gives no probabilities."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 9 * image - 4


def test_values_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Segmentation '.*' gave values from -4 to 5; expected .*: end it in a"):
        UserSegmentation(f"{__name__}.Logits")


@pytest.mark.parametrize("example", [(1, 3, 64, 64), (2, 3, 128, 128)])
def test_a_program_of_one_size_is_refused_at_once(tmp_path: Path, example: tuple[int, ...]) -> None:
    path = export(Segmentation(), tmp_path / "fixed.pt2", example, dynamic=False)
    with pytest.raises(ValueError, match=r"^Segmentation '.*' failed \(.*\); expected .*: export it .*\.$"):
        UserSegmentation(path)


def test_a_network_for_other_channels_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Segmentation 'torch\.nn\.Conv2d' failed \(.*\); expected .*\.$"):
        UserSegmentation("torch.nn.Conv2d", {"in_channels": 4, "out_channels": 2, "kernel_size": 1})
