"""Who is it? A recogniser's answer for every covered face of the `identities` clip.

The attacker's best case: eyes, nose and mouth are known from the clear photo, and the gallery holds the clear
frames of the very same clip. One frame at a time; the attack with many frames is crates/pipeline/tests/strength.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from skimage.transform import SimilarityTransform

from scenes import HERE, TURN, person_to_frame
from video import read

# Where SFace wants eyes, nose and mouth corners in its 112 x 112 input (the template of ArcFace).
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


class Recognizer:
    """SFace in ONNX Runtime."""

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # two evaluations run at once
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def embed(self, picture, landmarks):
        """The unit vector of the face whose landmarks are at these pixels."""
        transform = SimilarityTransform.from_estimate(np.array(landmarks), TEMPLATE)
        face = cv2.warpAffine(picture, transform.params[:2], (112, 112), flags=cv2.INTER_LINEAR)
        tensor = face[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        vector = self.session.run(None, {self.input: tensor})[0].ravel()
        return vector / np.linalg.norm(vector)


def identify(model, original, processed):
    """The share of faces that are most like the clear face of the same person."""
    recognizer = Recognizer(model)
    people = json.loads((HERE / "truth/people.json").read_text())
    gallery = embeddings(recognizer, people, original)
    covered = embeddings(recognizer, people, processed)
    mean = np.stack([vectors.mean(axis=0) for vectors in gallery])
    right = total = 0
    for number, vectors in enumerate(covered):
        for vector in vectors:
            right += int((mean @ vector).argmax() == number)
            total += 1
    return {"people": len(people), "frames": total, "rank1": right / total, "chance": 1 / len(people)}


def embeddings(recognizer, people, path):
    """For each person the embeddings of the frames, aligned by where the clear photo has its landmarks."""
    found = [[] for _ in people]
    for index, (_, picture) in enumerate(read(path)):
        number, turn = divmod(index, TURN)
        if number >= len(people):
            break
        matrix = person_to_frame(people[number], turn)
        landmarks = [matrix[:, :2] @ point + matrix[:, 2] for point in people[number]["landmarks"]]
        scale = picture.shape[1] / 480
        found[number].append(recognizer.embed(picture, np.array(landmarks) * scale))
    if not all(found):
        raise RuntimeError(f"{Path(path).name} has too few frames")
    return [np.stack(vectors) for vectors in found]
