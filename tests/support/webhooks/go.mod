module wapipe/webhooks

go 1.21
