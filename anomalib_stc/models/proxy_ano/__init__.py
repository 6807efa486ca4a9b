"""ProxyAno: the image rebuilt from its superpixel-image, which is found through a memory."""
