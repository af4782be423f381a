# %% [markdown]
# # Sentiment, from reviews to a file for phones
#
# Is a text negative or positive? Two LSTMs read it, one from each end. This recipe runs from top to bottom, as a
# script or as the notebook of the same name:
#
# ```
# python recipes/sentiment.py                                        # smoke: generated texts, a minute
# python recipes/sentiment.py --profile quick --data DIR             # on a laptop
# python recipes/sentiment.py --profile full --data DIR seed=1       # as the shipped weights were made
# python recipes/sentiment.py --dataset sst2 --profile full --data DIR
# python recipes/sentiment.py --name sentiment_tiny --profile quick --tune 20 --data DIR
# ```
#
# Any setting can be changed by its name (`epochs=5`, `model.units=64`). A run that was killed goes on where it was
# when the same command is given again. `DIR` holds the dataset, as an archive or unpacked; without it the loader looks
# into its cache, and then downloads.

# %%
import json
from dataclasses import replace

from rich import print

from lstm_zoo import artifact, data, inspect, registry
from lstm_zoo.calibration import calibrate
from lstm_zoo.config import is_given, override
from lstm_zoo.data import small_texts
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.evaluation import evaluate
from lstm_zoo.experiment import minutes
from lstm_zoo.exporters import certificate
from lstm_zoo.exporters.files import certificate_path
from lstm_zoo.frontends.text import tokenizer
from lstm_zoo.models import keras_lstm, sentiment
from lstm_zoo.plots import plot_history, plot_lengths
from lstm_zoo.recipe import recipe_arguments
from lstm_zoo.shipping import SENTENCES, ship, write_card
from lstm_zoo.tasks.text import TextExperiment, baselines, fit_to, run
from lstm_zoo.tuning import refuse_larger, search

arguments = recipe_arguments(
    ["sentiment", "sentiment_subword", "sentiment_tiny", "keras_lstm"],
    "Train a classifier of texts.",
    synthetic=False,
    datasets=["imdb", "sst2", "sst5", "movie_reviews"],
    size_limit=4_000_000,
)
folder = arguments.out

# %% [markdown]
# ## Settings
# The profiles differ in how much is trained on and for how long; the model is the registry's (smaller in the smoke
# profile). In the full profile the LSTMs first learn to guess the words of the training texts, as language models.

# %%
PROFILES = {
    "smoke": {
        "vocabulary_size": 200,
        "embedding": 16,
        "units": 16,
        "epochs": 6,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "average": 0.8,
    },
    "quick": {"epochs": 2, "crop": 200},
    "full": {},
}
OF_MODEL = {
    "sentiment_subword": {"vocabulary_size": 8_000},
    "sentiment_tiny": {"vocabulary_size": 4_000},  # whose embedding is most of the file
}
# Reviews are long enough to learn a language from first. What was learnt so is changed with care: with so large an
# epsilon, Adam takes small steps where gradients are small, as for rare words.
PRETRAINED = {"pretraining_epochs": 6, "epochs": 4, "crop": 800, "learning_rate": 0.012, "epsilon": 2e-3}
OF_SENTENCES = {"epochs": 4, "embedding_dropout": 0.4, "learning_rate": 0.004, "epsilon": 2e-4}
is_yardstick = arguments.name == "keras_lstm"  # Keras's own LSTM, to beat: trained here, but no entry of the zoo
if is_yardstick and arguments.tune:
    raise InvalidInputError("--tune: keras_lstm is there to be beaten, and is not tuned; leave --tune out")
entry = replace(registry.ENTRIES["sentiment" if is_yardstick else arguments.name], dataset=arguments.dataset)
experiment = override(TextExperiment(), {f"model.{name}": value for name, value in entry.options.items()})
settings = {} if arguments.smoke else OF_MODEL.get(arguments.name, {})
if arguments.profile == "full" and not is_yardstick:
    settings = settings | (PRETRAINED if arguments.dataset == "imdb" else OF_SENTENCES)
experiment = override(experiment, settings | PROFILES[arguments.profile] | arguments.settings)

# %% [markdown]
# ## Load
# The smoke profile makes its own texts, so that it needs no data; its figures say nothing about reviews. The
# vocabulary is made from the training texts alone.

# %%
GENERATED = {
    "imdb": small_texts.write_imdb,
    "sst2": small_texts.write_sst,
    "sst5": small_texts.write_sst,
    "movie_reviews": small_texts.write_movie_reviews,
}
data_folder = arguments.data
if arguments.smoke:
    data_folder = folder / "generated"
    if not data_folder.exists():
        GENERATED[arguments.dataset](data_folder)
dataset = data.load(arguments.dataset, data_folder)
experiment = fit_to(experiment, dataset)
print(dataset.summary(), experiment)

# %% [markdown]
# ## Look
# The beginning of one text of each class, and how long the texts are. Training cuts long ones, in each epoch at another
# place; validation and testing read them whole.

# %%
for label, name in enumerate(dataset.label_names):
    text = dataset.training.texts[int((dataset.training.labels == label).argmax())]
    print(f"[bold]{name}:[/]", repr(text[:300]))
tokens = tokenizer(experiment.model.tokenizer, experiment.model.vocabulary)(list(dataset.training.texts))
figure = plot_lengths(tokens.row_lengths().numpy(), experiment.crop)
figure.savefig(folder / "lengths.png")
figure

# %% [markdown]
# ## Tune
# Batch size and epochs are parameters like any other; what the command line sets stays as it is. A trial whose
# exported file would be larger than `--size-limit` is refused before it is trained; one that crashes is counted as
# failed and the search goes on; a search that was killed is continued. Trials are compared on the validation texts,
# never on the test texts.


# %%
def score(settings, trial_folder):
    """Validation accuracy of one trial."""
    trial = override(experiment, settings)
    refuse_larger(sentiment.build(trial.model), size_limit, profile="mediapipe")
    model = run(lambda: sentiment.build(trial.model), trial, dataset, trial_folder, verbose=0)
    return evaluate(model, dataset, "validation").accuracy


size_limit = min(arguments.size_limit, 300_000) if arguments.name == "sentiment_tiny" else arguments.size_limit
space = {name: values for name, values in sentiment.SEARCH_SPACE.items() if not is_given(name, arguments.settings)}
if arguments.tune:
    results = search(space, score, folder / "tuning", trials=arguments.tune)
    print(results)
    experiment = override(experiment, results[0].settings)

# %% [markdown]
# ## Train
# In batches of texts of much the same length, so that little is padding. The last weights are kept, averaged over the
# steps, not the best on validation.


# %%
def build():
    """The model of this run, untrained."""
    return (keras_lstm if is_yardstick else sentiment).build(experiment.model)


model = run(build, experiment, dataset, folder)
figure = plot_history(folder / "history.csv")
figure.savefig(folder / "history.png")
figure

# %% [markdown]
# ## Calibrate
# Scale and bias of the last layer are fitted on the validation texts, so that of the texts that are positive with 80 %
# four in five are.

# %%
print(calibrate(model, dataset.validation))

# %% [markdown]
# ## Evaluate
# On the test texts, beside what needs no LSTM: the most frequent class, and two linear models of words and phrases,
# which are hard to beat.

# %%
tested = evaluate(model, dataset)
figures = {
    "name": arguments.name,
    "dataset": arguments.dataset,
    "seed": experiment.training.seed,
    "parameters": model.count_params(),
    "minutes": minutes(folder),
    "validation accuracy": evaluate(model, dataset, "validation").accuracy,
    "accuracies": {arguments.name: tested.accuracy} | baselines(dataset),
    "confusion": tested.confusion,
}
print(figures["accuracies"])
figure = tested.plot()
figure.savefig(folder / "confusion.png")
figure

# %% [markdown]
# ## Inspect
# Which words moved the decision: what becomes of it without each of them, and how it stood after each of them.

# %%
figure = inspect.words(model, SENTENCES[0]).plot()
figure.savefig(folder / "words.png")
figure

# %% [markdown]
# ## Export and verify
# As TFLite, for texts of any length and, with 8-bit weights, for MediaPipe; and as a SavedModel. Each is replayed in a
# fresh process on test texts and gets a certificate; a file that does not give the model's answers is not left behind.
# The artefact folder holds all that a stranger needs to use the model and to check it.

# %%
if not is_yardstick:
    model.card = write_card(entry, dataset, figures, arguments.command, generated=arguments.smoke)
    shipped = ship(folder, model, entry, dataset, figures)
    for file in sorted(folder.glob("*.tflite")):
        print(certificate.read(certificate_path(file)))

# %%
if not is_yardstick:
    verified = artifact.verify(shipped)
    print(f"{verified.files} files verified in {shipped}; largest difference {verified.largest_difference:.1e}")

# %%
(folder / "evaluation.json").write_text(json.dumps(figures, indent=1))  # last: its being there says that all is done
