"""What is given back: music that is retrieved, or generated, from embeddings decoded from a brain."""
