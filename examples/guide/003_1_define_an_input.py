from flowchan import flow, pause_flow_run
from flowchan.input import RunInput

class UserNameInput(RunInput):
    name: str
