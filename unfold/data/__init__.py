"""Images: reading them, splitting them, and handing them out in batches.

Nothing here measures or adds noise; that is done by the physics, in the step of the trainer.
"""
