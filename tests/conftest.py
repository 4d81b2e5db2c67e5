"""What holds for every test."""

import hypothesis

# A busy machine must not turn a slow example into a failed property: tests wait for states, never for speed.
hypothesis.settings.register_profile("meshboard", deadline=None)
hypothesis.settings.load_profile("meshboard")
