"""Images that are drawn, or of several data sets, by (split, epoch, index)."""
