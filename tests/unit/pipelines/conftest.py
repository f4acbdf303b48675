from tests.fixtures.written_stages import stages

__all__ = ["stages"]
