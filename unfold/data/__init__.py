"""Images: reading, splitting, batching. Measuring them is the task of the physics."""
