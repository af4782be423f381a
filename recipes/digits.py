# %% [markdown]
# # Spoken digits, and how well a model does with a voice it never heard
#
# Ten digits by six speakers (Free Spoken Digit Dataset, 8 kHz). The official split has the same voices on both sides
# and says little; leaving one speaker out at a time says how the model does with a new voice.
#
# ```
# python recipes/digits.py                                    # smoke: generated sounds, a minute
# python recipes/digits.py --profile full --data DIR --synthetic NEW_FOLDER seed=1
# ```
#
# Any setting can be changed by its name (`epochs=5`, `model.units=64`). A run that was killed goes on where it was
# when the same command is given again.

# %%
import json

import numpy as np
from rich import print

from lstm_zoo import artifact, registry
from lstm_zoo.config import override
from lstm_zoo.data import fsdd, small, synthetic_speech
from lstm_zoo.evaluation import evaluate
from lstm_zoo.experiment import minutes
from lstm_zoo.models import speech
from lstm_zoo.plots import plot_history, plot_spectrograms
from lstm_zoo.recipe import recipe_arguments
from lstm_zoo.shipping import ship, write_card
from lstm_zoo.tasks.audio import AudioExperiment, measure, run

arguments = recipe_arguments(["digits"], "Train a recogniser of spoken digits.", tunable=False)
folder = arguments.out

# %% [markdown]
# ## Settings

# %%
PROFILES = {
    "smoke": {"epochs": 2, "batch_size": 16},
    "quick": {"epochs": 10},
    "full": {"epochs": 40},
}
entry = registry.ENTRIES["digits"]
experiment = AudioExperiment(model=speech.SpeechConfig.create(entry.options), synthetic_share=0.5)
experiment = override(experiment, {"augmentation.speed": 0.2, "augmentation.noise_share": 0.3, "average": 0.98})
experiment = override(experiment, PROFILES[arguments.profile] | arguments.settings)
print(experiment)

# %% [markdown]
# ## Load
# The smoke profile makes its own sounds, so that it needs no data; its figures say nothing about speech.

# %%
data_folder = arguments.data
if arguments.smoke:
    data_folder = folder / "generated"
    if not data_folder.exists():
        small.write_fsdd(data_folder)
dataset = fsdd.load(data_folder)
if arguments.synthetic and not arguments.synthetic.exists():
    synthetic_speech.generate(arguments.synthetic, list(fsdd.LABELS))
synthetic = fsdd.load_extra(arguments.synthetic) if arguments.synthetic else None
print(dataset.summary())

# %% [markdown]
# ## Look

# %%
front_end = speech.LogMelSpectrogram(experiment.model.front_end)
first = [int((dataset.training.labels == label).argmax()) for label in range(len(dataset.label_names))]
figure = plot_spectrograms(dataset.training.as_float()[first], dataset.label_names, front_end)
figure.savefig(folder / "spectrograms.png")
figure


# %% [markdown]
# ## Train and evaluate on the official split


# %%
def build():
    """The model, untrained."""
    return speech.build(experiment.model)


model = run(build, experiment, dataset, folder, synthetic)
figure = plot_history(folder / "history.csv")
figure.savefig(folder / "history.png")
figure

# %%
tested = evaluate(model, dataset)
accuracies = measure(model, dataset, front_end, arguments.name)
print(accuracies)
figure = tested.plot()
figure.savefig(folder / "confusion.png")
figure

# %% [markdown]
# ## A new voice
# Six models, each tested on the one speaker it was not trained on, and trained for a third of the epochs. (The smoke
# profile trains one of the six.)

# %%
shorter = override(experiment, {"epochs": max(1, experiment.training.epochs // 3)})
by_speaker = {}
for speaker, fold in list(fsdd.leave_one_speaker_out(data_folder))[: 1 if arguments.smoke else None]:
    fold_model = run(build, shorter, fold, folder / f"without-{speaker}", synthetic)
    by_speaker[speaker] = evaluate(fold_model, fold).accuracy
    print(f"{speaker}: {by_speaker[speaker]:.2%}")
accuracies["digits, on a speaker left out (mean of six models, trained for a third as long)"] = float(
    np.mean(list(by_speaker.values()))
)

# %%
figures = {
    "name": arguments.name,
    "seed": experiment.training.seed,
    "parameters": model.count_params(),
    "minutes": minutes(folder),
    "validation accuracy": evaluate(model, dataset, "validation").accuracy,
    "accuracies": accuracies,
    "leaving one speaker out": by_speaker,
    "confusion": tested.confusion,
}
print(accuracies)

# %% [markdown]
# ## Export and verify

# %%
share = experiment.synthetic_share if synthetic else 0.0
model.card = write_card(entry, dataset, figures, arguments.command, synthetic=share, generated=arguments.smoke)
shipped = ship(folder, model, entry, dataset, figures)
verified = artifact.verify(shipped)
print(f"{verified.files} files verified in {shipped}; largest difference {verified.largest_difference:.1e}")

# %%
(folder / "evaluation.json").write_text(json.dumps(figures, indent=1))  # last: its being there says that all is done
