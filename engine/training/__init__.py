"""Scripts that make the weights Replymill is shipped with; serving never imports them."""
