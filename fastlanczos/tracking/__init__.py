"""The spectrum of a network followed through training.

| file          | what it holds                                                              |
|---------------|----------------------------------------------------------------------------|
| `tracker`     | `SpectrumTracker`: when to measure                                         |
| `measure`     | the function `measure`: one look at the curvature                          |
| `measurement` | `Measurement`: its record, as JSON (needs no PyTorch)                      |
| `records`     | a folder of records (needs no PyTorch)                                     |
| `sampling`    | measurements on a part of the data, and the error of that                  |
| `prediction`  | the loss that a quadratic model predicts                                   |
| `pictures`    | matplotlib figures of a run                                                |
| `callbacks`   | Lightning, Hugging Face, TensorBoard, Weights & Biases                     |
"""
