"""Recipes: those that come with smalti are good, and a fault is named in one sentence."""

import pytest

from training import recipe as recipes
from training.errors import RecipeRefused
from training.families import loading as families

GOOD = 'family = "pixel_rnn"\nvariant = "lecture"\n[training]\nsteps = 3\n'


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_that_comes_with_smalti_can_be_read(name):
    assert recipes.read(recipes.find(name, digits=False)).training.steps > 0


def test_a_name_means_the_recipe_for_digits_if_there_is_one():
    assert recipes.find("pixel-rnn", digits=True).name == "pixel-rnn-digits.toml"
    assert recipes.find("pixel-rnn", digits=False).name == "pixel-rnn.toml"


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(RecipeRefused, match="pixel-rnn"):
        recipes.find("cubism", digits=False)


def test_the_model_is_named_after_its_family_unless_the_recipe_names_it(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(GOOD)
    assert recipes.read(file).suffix == "pixel-rnn"
    file.write_text('model = "pixel-rnn-tiny"\n' + GOOD)
    assert recipes.read(file).suffix == "pixel-rnn-tiny"


@pytest.mark.parametrize(
    ("family", "variant"),
    [("pixel_rnn", "diagonal"), ("vae", "elbo"), ("autoencoder", "plain"), ("gan", "robust")],
)
def test_a_recipe_without_a_variant_gets_the_familys_default(tmp_path, family, variant):
    text = GOOD.replace("pixel_rnn", family)
    (tmp_path / "silent.toml").write_text(text.replace('variant = "lecture"\n', ""))
    (tmp_path / "named.toml").write_text(text.replace("lecture", variant))
    silent = recipes.read(tmp_path / "silent.toml")
    assert silent.variant == variant
    assert silent == recipes.read(tmp_path / "named.toml")


def test_the_default_pixel_rnn_is_diagonal_and_the_lectures_has_its_own_recipe():
    for digits in (True, False):
        assert recipes.read(recipes.find("pixel-rnn", digits=digits)).variant == "diagonal"
        lecture = recipes.read(recipes.find("pixel-rnn-lecture", digits=digits))
        assert (lecture.variant, lecture.suffix) == ("lecture", "pixel-rnn-lecture")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("family = ", "cannot be read"),
        (GOOD.replace("steps = 3", "steps = 0"), r"training\.steps"),
        (GOOD.replace("pixel_rnn", "cubism"), "family"),
        (GOOD + "speed = 3\n", r"training\.speed"),
        (
            GOOD + "step = 3\n",
            r"training\.step: there is no 'step' \(did you mean 'steps'\?\); known are steps, batch",
        ),
        (
            "sede = 3\n" + GOOD,
            r"sede: there is no 'sede' \(did you mean 'seed'\?\); known are family, variant",
        ),
        ("seed = -1\n" + GOOD, r"seed: .* not -1"),
        (GOOD.replace("steps = 3", 'steps = "many"'), r"training\.steps: must be a whole number, not 'many'"),
        (GOOD.replace("steps = 3", "steps = "), r"cannot be read: .*line 4, column 9"),
        (GOOD + "[data]\nsize = 1e999\n", r"data\.size"),
        ("a = " + "[" * 5000, "nested too deeply"),
        (GOOD + "generations = [2, 1]\n", "generations must rise and end before step 3"),
        (GOOD + "generations = [1, 3]\n", "generations must rise and end before step 3"),
        (GOOD + "[data]\nsize = 3\n", r"data\.size"),
        (GOOD + "[data]\ncolours = 300\n", r"data\.colours"),
        (GOOD + '[data]\nbackground = "white"\n', r"data\.background: must be a colour, .* e\.g\. #ffffff"),
        (GOOD.replace("steps = 3", 'steps = "3"'), r"training\.steps: must be a whole number, not '3'"),
        (GOOD.replace("steps = 3", "steps = 3.0"), r"training\.steps: must be a whole number, not 3\.0"),
        (GOOD.replace("steps = 3", "steps = true"), r"training\.steps: must be a whole number, not true"),
        ("seed = " + "9" * 5000 + "\n" + GOOD, "a number in it has too many digits"),
        (
            "seed = 0x" + "f" * 5000 + "\n" + GOOD,
            "seed: must be less than .* a number of thousands of digits",
        ),
        (GOOD + "batch = 100000000000\n", r"training\.batch: must be at most 65536"),
        ("a = 1\nb = 2\n" + GOOD + "c = 3\n", "'c'.*'a'.*'b'"),
        ("family = 3\ndata = 5\n", "data: must be a table, not 5.*training is missing"),
    ],
)
def test_a_fault_is_named(tmp_path, text, reason):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeRefused, match=reason):
        recipes.read(tmp_path / "r.toml")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RecipeRefused, match="cannot be read"):
        recipes.read(tmp_path / "r.toml")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00"])
def test_a_recipe_that_is_not_text_is_refused(tmp_path, content):
    (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(RecipeRefused, match="cannot be read"):
        recipes.read(tmp_path / "r.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RecipeRefused, match="cannot be read"):
        recipes.read(tmp_path / "folder.toml")


@pytest.mark.parametrize("name", recipes.names())
def test_every_familys_tables_accept_the_recipes_that_come_with_smalti(name):
    families.check(recipes.read(recipes.find(name, digits=False)))


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "r.toml").write_text(GOOD, encoding="utf-8-sig")
    assert recipes.read(tmp_path / "r.toml").training.steps == 3


@pytest.mark.parametrize(
    ("written", "meant"), [("#FFFFFF", "#ffffff"), ("#Ab1", "#aabb11"), ("#00ff7f", "#00ff7f")]
)
def test_a_colour_may_be_in_capitals_or_short(written, meant):
    assert recipes.DataRecipe(background=written).background == meant


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("[network]\nlatent = 999999999\n", "latent: must be at most 4096"),
        ("[network]\nhidden = true\n", "hidden: must be a whole number, not true"),
        ('[network]\nhidden = "128"\n', "hidden: must be a whole number, not '128'"),
        ("[network]\nhidden = 64.0\n", "hidden: must be a whole number, not 64.0"),
        ("[network]\nchannels = [true]\n", "channels.0: must be a whole number"),
        ("[network]\nchannels = 5\n", "channels: must be a list"),
        ("[optimiser]\nlearning_rate = 1e300\n", "learning_rate: must be at most 1000000, not 1e+300"),
        ("[optimiser]\nweight_decay = 1e300\n", "weight_decay: must be at most 1000000"),
        ("[optimiser]\ngradient_norm = 1e300\n", "gradient_norm: must be at most"),
        ("[network]\nhiden = 3\n[optimiser]\nrate = 3\n", "there is no 'rate'"),
    ],
)
def test_a_familys_table_refuses_wrong_types_and_values_out_of_range(tmp_path, table, reason):
    file = tmp_path / "r.toml"
    file.write_text(GOOD.replace("pixel_rnn", "vae").replace("lecture", "elbo") + table)
    with pytest.raises(RecipeRefused) as refusal:
        families.check(recipes.read(file))
    assert reason in str(refusal.value)
