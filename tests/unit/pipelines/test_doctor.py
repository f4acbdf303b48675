"""What `doctor` says of extras, from requirements and versions that the test makes up."""

import pytest

from pipelines import doctor

REQUIRES = (
    "numpy>=1.26,<3",
    'typing-extensions>=4; python_version < "3"',
    'typer>=0.16; extra == "cli"',
    'jinja2>=3.1; extra == "report"',
    'tfrs-twotower[cli,report]; extra == "pipelines"',
    'apache-beam<2.78,>=2.72; extra == "pipelines"',
    "scann[tf]>=1.3; platform_machine == 'no-such-machine' and extra == 'scann'",
    'tfrs-twotower[cli]; extra == "serve"',
    'starlette<2,>=0.46; extra == "serve"',
)
HINT = "`pip install 'tfrs-twotower[{0}]'`, or `pip install '.[{0}]'` in a checkout"


@pytest.fixture
def requirements(monkeypatch):
    def find(**versions):
        installed = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name):
            if name not in installed:
                raise doctor.metadata.PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(doctor.metadata, "requires", lambda name: list(REQUIRES))
        monkeypatch.setattr(doctor.metadata, "version", version)
        return {finding.subject.partition(",")[0]: finding for finding in doctor._requirements()}

    return find


def test_an_extra_tells_what_it_brings_and_how_to_get_it(requirements):
    found = requirements(numpy="2.1", typer="0.20")
    assert (found["packages of the core"].healthy, found["extra [cli]"].to_get) == (True, "")
    assert found["extra [cli]"].state == "installed (typer)"
    report = found["extra [report]"]
    assert (report.healthy, report.state) == (True, "not installed; brings jinja2")
    assert report.to_get == HINT.format("report")
    assert "pages" in report.subject


def test_an_extra_needs_the_extras_that_it_includes(requirements):
    """All that [pipelines] names itself is there; what its [report] brings is not."""
    pipelines = requirements(numpy="2.1", typer="0.20", apache_beam="2.77")["extra [pipelines]"]
    brings = "typer, jinja2, apache-beam"
    assert pipelines.state == f"not installed; brings {brings}; missing jinja2"
    assert pipelines.to_get == HINT.format("pipelines")


def test_a_version_that_does_not_fit_is_wrong(requirements):
    found = requirements(numpy="1.20", typer="0.20", starlette="0.30")
    core, serve = found["packages of the core"], found["extra [serve]"]
    assert (core.healthy, core.state) == (False, "found numpy 1.20, needed <3,>=1.26")
    assert core.fix == "`pip install 'numpy<3,>=1.26'`"
    assert (serve.healthy, serve.state) == (False, "found starlette 0.30, needed <2,>=0.46")
    assert serve.fix == HINT.format("serve")


def test_a_package_of_the_core_that_is_missing_is_wrong(requirements):
    core = requirements()["packages of the core"]
    assert (core.healthy, core.state) == (False, "found numpy not installed, needed <3,>=1.26")


def test_an_extra_of_another_machine_is_not_offered(requirements):
    scann = requirements(numpy="2.1")["extra [scann]"]
    assert (scann.healthy, scann.to_get) == (True, "")
    assert scann.state.startswith("not made for ")


def test_a_checkout_that_is_not_installed_says_so(monkeypatch):
    def requires(name):
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", requires)
    (finding,) = doctor._requirements()
    assert finding.healthy
    assert "not installed" in finding.state
    assert finding.to_get == HINT.format("all")
