import keras
import pytest
from small_models import small_model


@pytest.fixture(scope="session")
def model() -> keras.Model:
    return small_model()
