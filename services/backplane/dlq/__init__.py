"""Dead letters: what lies in the dead-letter topics, and how it is put back."""
