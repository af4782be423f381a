# %% [markdown]
# # Keyword spotting, from recordings to a file for phones
#
# Ten words, "unknown" and "silence", heard by an LSTM over a log-mel spectrogram. This recipe runs from top to
# bottom, as a script or as the notebook of the same name:
#
# ```
# python recipes/speech.py                                        # smoke: generated sounds, a minute
# python recipes/speech.py --profile quick --data DIR             # a quarter of an hour on a laptop
# python recipes/speech.py --profile full --data DIR seed=1       # as the shipped weights were made
# python recipes/speech.py --name speech_tiny --profile quick --tune 20 --data DIR epochs=50
# ```
#
# Any setting can be changed by its name (`epochs=5`, `model.units=64`). A run that was killed goes on where it was
# when the same command is given again. `DIR` holds Speech Commands v0.02, as an archive or unpacked; without it the
# loader looks into its cache, and then downloads.

# %%
import json

from rich import print

from lstm_zoo import artifact, registry
from lstm_zoo.config import is_given, override
from lstm_zoo.data import small, speech_commands, synthetic_speech
from lstm_zoo.evaluation import evaluate
from lstm_zoo.experiment import minutes
from lstm_zoo.exporters import certificate
from lstm_zoo.exporters.files import certificate_path
from lstm_zoo.models import ds_cnn, speech
from lstm_zoo.plots import plot_history, plot_spectrograms
from lstm_zoo.recipe import recipe_arguments
from lstm_zoo.shipping import ship, write_card
from lstm_zoo.tasks.audio import AudioExperiment, measure, run
from lstm_zoo.tuning import refuse_larger, search

arguments = recipe_arguments(["speech", "speech_tiny", "speech_attention", "ds_cnn"], "Train a keyword spotter.")
folder = arguments.out

# %% [markdown]
# ## Settings
# The profiles differ in how much is trained on and for how long; the model is the registry's.

# %%
PROFILES = {
    "smoke": {"epochs": 2, "batch_size": 16},
    "quick": {"epochs": 30},
    "full": {"epochs": 100 if arguments.name == "speech_attention" else 60},
}
is_yardstick = arguments.name == "ds_cnn"  # the convolutional network to beat: trained here, but no entry of the zoo
entry = registry.ENTRIES["speech" if is_yardstick else arguments.name]
experiment = AudioExperiment(model=speech.SpeechConfig.create(entry.options))
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
        small.write_speech_commands(data_folder)
dataset = speech_commands.load(data_folder)
if arguments.synthetic and not arguments.synthetic.exists():
    synthetic_speech.generate(arguments.synthetic, list(speech_commands.WORDS))
synthetic = speech_commands.load_extra(arguments.synthetic) if arguments.synthetic else None
print(dataset.summary())

# %% [markdown]
# ## Look
# One clip of each class as the model gets to see it: the waveform, and its log-mel spectrogram.

# %%
front_end = speech.LogMelSpectrogram(experiment.model.front_end)
first = [int((dataset.training.labels == label).argmax()) for label in range(len(dataset.label_names))]
figure = plot_spectrograms(dataset.training.as_float()[first], dataset.label_names, front_end)
figure.savefig(folder / "spectrograms.png")
figure

# %% [markdown]
# ## Tune
# Batch size, epochs and the front end are parameters like any other; what the command line sets stays as it is. A
# trial whose exported file would be larger than `--size-limit` is refused before it is trained; one that crashes is
# counted as failed and the search goes on; a search that was killed is continued. Trials are compared on the
# validation clips, never on the test clips.


# %%
def score(settings, trial_folder):
    """Validation accuracy of one trial."""
    trial = override(experiment, settings)
    refuse_larger(speech.build(trial.model), size_limit)
    model = run(lambda: speech.build(trial.model), trial, dataset, trial_folder, synthetic, verbose=0)
    return evaluate(model, dataset, "validation").accuracy


size_limit = min(arguments.size_limit, 80_000) if arguments.name == "speech_tiny" else arguments.size_limit
space = {name: values for name, values in speech.SEARCH_SPACE.items() if not is_given(name, arguments.settings)}
if arguments.tune and not is_yardstick:
    results = search(space, score, folder / "tuning", trials=arguments.tune)
    print(results)
    experiment = override(experiment, results[0].settings)

# %% [markdown]
# ## Train
# The last weights are kept, averaged over the steps, not the best on validation: with a few hundred validation
# clips, "best" would be luck.

# %%


def build():
    """The model of this run, untrained."""
    return ds_cnn.build(len(dataset.label_names)) if is_yardstick else speech.build(experiment.model)


model = run(build, experiment, dataset, folder, synthetic)
figure = plot_history(folder / "history.csv")
figure.savefig(folder / "history.png")
figure

# %% [markdown]
# ## Evaluate
# On the test clips, beside what needs no LSTM: the most frequent class, and logistic regression on the mean of the
# log-mel spectrogram over time.

# %%
tested = evaluate(model, dataset)
figures = {
    "name": arguments.name,
    "seed": experiment.training.seed,
    "parameters": model.count_params(),
    "minutes": minutes(folder),
    "validation accuracy": evaluate(model, dataset, "validation").accuracy,
    "accuracies": measure(model, dataset, front_end, arguments.name),
    "confusion": tested.confusion,
}
print(figures["accuracies"])
figure = tested.plot()
figure.savefig(folder / "confusion.png")
figure

# %% [markdown]
# ## Export and verify
# As TFLite, in float and with 8-bit weights, and as a SavedModel. Each is replayed in a fresh process on the test
# clips and gets a certificate; a file that does not give the model's answers is not left behind. The artefact folder
# holds all that a stranger needs to use the model and to check it.

# %%
if not is_yardstick:
    share = experiment.synthetic_share if synthetic else 0.0
    model.card = write_card(entry, dataset, figures, arguments.command, synthetic=share, generated=arguments.smoke)
    shipped = ship(folder, model, entry, dataset, figures)
    for file in sorted(folder.glob("*.tflite")):
        print(certificate.read(certificate_path(file)))

# %%
if not is_yardstick:
    verified = artifact.verify(shipped)
    print(f"{verified.files} files verified in {shipped}; largest difference {verified.largest_difference:.1e}")

# %%
(folder / "evaluation.json").write_text(json.dumps(figures, indent=1))  # last: its being there says that all is done
