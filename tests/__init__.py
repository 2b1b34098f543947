"""What holds, and the proof."""
